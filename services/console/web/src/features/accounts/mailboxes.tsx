import { api, type Schemas } from "../../api/client";
import { useCan } from "../../api/me";
import { useList } from "../../api/queries";
import { count, size } from "../../parts/moments";
import { Command, Empty } from "../../parts/notices";
import { Section } from "../../parts/page";
import { type Column, DataTable } from "../../parts/table";

type Mailbox = Schemas["MailboxView"];

const COLUMNS: readonly Column<Mailbox>[] = [
  { id: "name", title: "Mailbox", cell: (mailbox) => mailbox.name },
  { id: "role", title: "Role", cell: (mailbox) => mailbox.role ?? "" },
  { id: "messages", title: "Messages", end: true, cell: (mailbox) => count(mailbox.messages) },
  { id: "unseen", title: "Unseen", end: true, cell: (mailbox) => count(mailbox.unseen) },
  { id: "size", title: "Size", end: true, cell: (mailbox) => size(mailbox.size_bytes) },
  {
    id: "subscribed",
    title: "Subscribed",
    cell: (mailbox) => (mailbox.subscribed ? "yes" : "no"),
  },
];

/** The mailboxes of an account with their counts, and how to export them. */
export function Mailboxes({ address }: { address: string }) {
  const can = useCan();
  const list = useList<Mailbox>(["accounts", address, "mailboxes"], () =>
    api.GET("/v1/accounts/{address}/mailboxes", { params: { path: { address } } }),
  );
  return (
    <>
      <DataTable
        caption="Mailboxes"
        columns={COLUMNS}
        list={list}
        rowKey={(mailbox) => mailbox.name}
        empty={<Empty title="No mailbox" command={`posthorn mailbox list ${address}`} />}
      />
      {can("exportMail") && (
        <Section title="Export">
          <p>All its mail as one file. The use of this right is shown to the account's owner.</p>
          <Command text={`posthorn export mail ${address} --format mbox --output mail.mbox`} />
        </Section>
      )}
    </>
  );
}
