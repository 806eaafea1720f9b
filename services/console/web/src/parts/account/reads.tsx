import type { Schemas } from "../../api/client";
import type { List } from "../../api/queries";
import { Empty } from "../notices";
import { type Column, DataTable } from "../table";
import { Time } from "../time";

export type Read = Schemas["AuditView"];

const COLUMNS: readonly Column<Read>[] = [
  { id: "at", title: "Time", cell: (read) => <Time at={read.at} /> },
  { id: "who", title: "Who", cell: (read) => read.actor_name },
  { id: "role", title: "Role", cell: (read) => read.actor_role },
  { id: "what", title: "What", cell: (read) => read.action },
  { id: "details", title: "Details", cell: (read) => <code>{JSON.stringify(read.details)}</code> },
];

/** Who read the content of an account's mailboxes through the API. */
export function ReadsTable({ list, command }: { list: List<Read>; command: string }) {
  return (
    <DataTable
      caption="Reads of content"
      columns={COLUMNS}
      list={list}
      rowKey={(read) => String(read.id)}
      empty={
        <Empty title="Nobody read this mail" command={command}>
          <p>Each read of a message's content by somebody else is listed here.</p>
        </Empty>
      }
    />
  );
}
