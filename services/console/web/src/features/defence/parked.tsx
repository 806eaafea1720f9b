import { Link } from "@tanstack/react-router";
import { api, type Schemas } from "../../api/client";
import { useCan } from "../../api/me";
import { useList } from "../../api/queries";
import { ActionButton, Removal } from "../../parts/actions";
import { size } from "../../parts/moments";
import { Empty } from "../../parts/notices";
import { Page } from "../../parts/page";
import { type Column, DataTable } from "../../parts/table";
import { Time } from "../../parts/time";

type ParkedMessage = Schemas["DeadLetterView"];

const COLUMNS: readonly Column<ParkedMessage>[] = [
  {
    id: "message",
    title: "Message",
    cell: (parked) => (
      <Link to="/messages/$id" params={{ id: parked.message_id }}>
        {parked.message_id}
      </Link>
    ),
  },
  { id: "reason", title: "Reason", cell: (parked) => parked.reason },
  { id: "size", title: "Size", end: true, cell: (parked) => size(parked.size) },
  { id: "parked", title: "Parked", cell: (parked) => <Time at={parked.parked_at} /> },
];

/** Accepted messages that could not be delivered: they wait for an operator. */
export function Parked() {
  const can = useCan();
  const list = useList<ParkedMessage>(
    ["parked"],
    (cursor) => api.GET("/v1/dead", { params: { query: { limit: 100, cursor } } }),
    { every: 30 },
  );
  const columns: readonly Column<ParkedMessage>[] = [
    ...COLUMNS,
    ...(can("retryDeadLetter")
      ? [{ id: "act", title: "Actions", cell: (row: ParkedMessage) => <Actions row={row} /> }]
      : []),
  ];
  return (
    <Page title="Parked messages">
      <DataTable
        caption="Parked messages"
        columns={columns}
        list={list}
        rowKey={(parked) => String(parked.sequence)}
        empty={
          <Empty title="Nothing is parked" command="posthorn dead-letter list">
            <p>An accepted message that cannot be delivered waits here. It is never dropped.</p>
          </Empty>
        }
      />
    </Page>
  );
}

function Actions({ row }: { row: ParkedMessage }) {
  const path = { sequence: row.sequence };
  return (
    <div className="actions">
      <ActionButton
        label="Retry"
        name={`Retry ${row.message_id}`}
        call={() => api.POST("/v1/dead/{sequence}/retry", { params: { path } })}
        changes={["parked"]}
        said={() => "The message is tried again"}
      />
      <Removal
        title="Discard message"
        label="Discard…"
        name={`Discard ${row.message_id}`}
        text="The message is deleted, and neither its sender nor its recipients are told."
        typed={String(row.sequence)}
        call={() => api.DELETE("/v1/dead/{sequence}", { params: { path } })}
        changes={["parked"]}
        said="Discarded the message"
      />
    </div>
  );
}
