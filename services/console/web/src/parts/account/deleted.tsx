import type { Call } from "../../api/call";
import type { Schemas } from "../../api/client";
import type { List } from "../../api/queries";
import { ActionButton } from "../actions";
import { size } from "../moments";
import { Empty } from "../notices";
import { type Column, DataTable } from "../table";
import { Time } from "../time";

export type DeletedMessage = Schemas["DeletedMessageView"];

/** Mail that was deleted and can be brought back; by those who may. */
export function DeletedMail(properties: {
  list: List<DeletedMessage>;
  command: string;
  undelete: ((id: string) => Call<Schemas["MessageView"]>) | false;
}) {
  const { list, command, undelete } = properties;
  const columns: readonly Column<DeletedMessage>[] = [
    { id: "from", title: "From", cell: ({ message }) => message.from || message.reverse_path },
    { id: "subject", title: "Subject", cell: ({ message }) => message.subject },
    { id: "mailbox", title: "Mailbox", cell: ({ message }) => message.mailbox },
    { id: "size", title: "Size", end: true, cell: ({ message }) => size(message.size) },
    { id: "deleted", title: "Deleted", cell: ({ deleted_at }) => <Time at={deleted_at} /> },
    { id: "until", title: "Gone", cell: ({ until }) => <Time at={until} /> },
    ...(undelete
      ? [{ id: "restore", title: "Restore", cell: (row: DeletedMessage) => restore(row, undelete) }]
      : []),
  ];
  return (
    <DataTable
      caption="Deleted mail"
      columns={columns}
      list={list}
      rowKey={({ message }) => message.id}
      empty={
        <Empty title="No deleted mail" command={command}>
          <p>What is deleted can be restored here for the days that its domain says.</p>
        </Empty>
      }
    />
  );
}

function restore(
  { message }: DeletedMessage,
  undelete: (id: string) => Call<Schemas["MessageView"]>,
) {
  return (
    <ActionButton
      label="Restore"
      name={`Restore ${message.subject}`}
      call={() => undelete(message.id)}
      changes={["accounts", "me-deleted"]}
      said={(restored) => `Restored to ${restored.mailbox}`}
    />
  );
}
