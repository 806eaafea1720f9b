import type { Schemas } from "../../api/client";
import type { List } from "../../api/queries";
import { count, size } from "../moments";
import { Empty } from "../notices";
import { type Column, DataTable } from "../table";

export type Mailbox = Schemas["MailboxView"];

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

/** The mailboxes of an account with their counts. */
export function MailboxTable({ list, command }: { list: List<Mailbox>; command: string }) {
  return (
    <DataTable
      caption="Mailboxes"
      columns={COLUMNS}
      list={list}
      rowKey={(mailbox) => mailbox.name}
      empty={<Empty title="No mailbox" command={command} />}
    />
  );
}
