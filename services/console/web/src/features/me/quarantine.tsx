import { api, type Schemas } from "../../api/client";
import { useList } from "../../api/queries";
import { ActionButton } from "../../parts/actions";
import { Empty } from "../../parts/notices";
import { Reason } from "../../parts/reasons";
import { type Column, DataTable } from "../../parts/table";
import { Time } from "../../parts/time";

type Copy = Schemas["QuarantinedView"];

const COLUMNS: readonly Column<Copy>[] = [
  { id: "subject", title: "Subject", cell: (copy) => copy.subject || "(no subject)" },
  { id: "from", title: "From", cell: (copy) => copy.from || copy.reverse_path },
  {
    id: "reason",
    title: "Reason",
    prose: true,
    cell: (copy) => (
      <>
        <Reason reason={copy.reason} isExplained />
        {copy.detail && <div className="weak">{copy.detail}</div>}
      </>
    ),
  },
  { id: "created", title: "Withheld", cell: (copy) => <Time at={copy.created_at} /> },
  { id: "expires", title: "Deleted", cell: (copy) => <Time at={copy.expires_at} /> },
  {
    id: "release",
    title: "Release",
    prose: true,
    cell: (copy) => (copy.reason === "virus" ? <ByAdmin /> : <Release copy={copy} />),
  },
];

/** What was withheld from the person who is signed in. */
export function Withheld() {
  const list = useList<Copy>(["me-quarantine"], (cursor) =>
    api.GET("/v1/me/quarantine", { params: { query: { limit: 100, cursor } } }),
  );
  return (
    <DataTable
      caption="Withheld messages"
      columns={COLUMNS}
      list={list}
      rowKey={(copy) => copy.id}
      empty={
        <Empty title="Nothing is withheld" command="posthorn me quarantine">
          <p>What the filters withhold from you waits here, until you release it.</p>
        </Empty>
      }
    />
  );
}

/** What the API would refuse is not offered. */
function ByAdmin() {
  return <>It holds a virus: only who administers your domain can release it.</>;
}

function Release({ copy }: { copy: Copy }) {
  return (
    <ActionButton
      label="Release"
      name={`Release ${copy.subject}`}
      call={() => api.POST("/v1/me/quarantine/{id}/release", { params: { path: { id: copy.id } } })}
      changes={["me-quarantine"]}
      said={() => "The message is in your inbox"}
    />
  );
}
