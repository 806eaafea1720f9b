import { api } from "../../api/client";
import { useList } from "../../api/queries";
import { type Read, ReadsTable } from "../../parts/account/reads";

/** Who read the content of an account's mailboxes. */
export function Reads({ address }: { address: string }) {
  const list = useList<Read>(["accounts", address, "reads"], (cursor) =>
    api.GET("/v1/accounts/{address}/content-access", {
      params: { path: { address }, query: { limit: 100, cursor } },
    }),
  );
  return <ReadsTable list={list} command={`posthorn audit content ${address}`} />;
}
