import { api } from "../../api/client";
import { useList } from "../../api/queries";
import { ExportMail } from "../../parts/account/export";
import { type Mailbox, MailboxTable } from "../../parts/account/mailboxes";

/** The mailboxes of the person who is signed in, and the export of their mail. */
export function OwnMail() {
  const list = useList<Mailbox>(["me-mailboxes"], () => api.GET("/v1/me/mailboxes"));
  return (
    <>
      <MailboxTable list={list} command="posthorn me mailboxes" />
      <ExportMail
        path="/v1/me/export"
        command="posthorn me export --output mail.mbox"
        note="It is listed under Sign-ins and reads."
      />
    </>
  );
}
