import { api } from "../../api/client";
import { useCan } from "../../api/me";
import { useList } from "../../api/queries";
import { ExportMail } from "../../parts/account/export";
import { type Mailbox, MailboxTable } from "../../parts/account/mailboxes";

/** The mailboxes of an account with their counts, and the export of its mail. */
export function Mailboxes({ address }: { address: string }) {
  const can = useCan();
  const list = useList<Mailbox>(["accounts", address, "mailboxes"], () =>
    api.GET("/v1/accounts/{address}/mailboxes", { params: { path: { address } } }),
  );
  return (
    <>
      <MailboxTable list={list} command={`posthorn mailbox list ${address}`} />
      {can("exportMail") && (
        <ExportMail
          path={`/v1/accounts/${encodeURIComponent(address)}/export`}
          command={`posthorn export mail ${address} --format mbox --output mail.mbox`}
          note="Each use of this right is shown to the account's owner."
        />
      )}
    </>
  );
}
