import { api } from "../../api/client";
import { useCan } from "../../api/me";
import { useList } from "../../api/queries";
import { DeletedMail, type DeletedMessage } from "../../parts/account/deleted";

/** The deleted mail of an account. */
export function Deleted({ address }: { address: string }) {
  const can = useCan();
  const list = useList<DeletedMessage>(["accounts", address, "deleted"], (cursor) =>
    api.GET("/v1/accounts/{address}/deleted", {
      params: { path: { address }, query: { limit: 100, cursor } },
    }),
  );
  const undelete = (id: string) =>
    api.POST("/v1/accounts/{address}/messages/{id}/undelete", {
      params: { path: { address, id } },
    });
  return (
    <DeletedMail
      list={list}
      command={`posthorn message deleted ${address}`}
      undelete={can("undeleteMessage") && undelete}
    />
  );
}
