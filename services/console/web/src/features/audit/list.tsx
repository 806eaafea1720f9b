import { getRouteApi, useNavigate } from "@tanstack/react-router";
import { api, type Schemas } from "../../api/client";
import { useList } from "../../api/queries";
import { ListView } from "../../parts/list-view";
import { Empty } from "../../parts/notices";
import { Page } from "../../parts/page";
import type { Column } from "../../parts/table";
import { Time } from "../../parts/time";

type Line = Schemas["AuditView"];

import { FILTERS } from "./filters";
import { changedIn } from "./values";

const route = getRouteApi("/audit");

const COLUMNS: readonly Column<Line>[] = [
  { id: "at", title: "Time", sort: "at", cell: (line) => <Time at={line.at} /> },
  {
    id: "actor",
    title: "Who",
    cell: (line) => (
      <>
        {line.actor_name} <span className="weak">{line.actor_role}</span>
      </>
    ),
  },
  { id: "action", title: "Action", cell: (line) => line.action },
  { id: "object", title: "Object", cell: (line) => line.object },
  { id: "details", title: "Before and after", cell: (line) => <Details line={line} /> },
  { id: "request", title: "Request", cell: (line) => <code>{line.request_id}</code> },
];

function Details({ line }: { line: Line }) {
  const changed = changedIn(line);
  if (changed.length === 0) return null;
  return (
    <details>
      <summary>{changed.map(({ field }) => field).join(", ")}</summary>
      <table>
        <caption className="unseen">Values before and after</caption>
        <thead>
          <tr>
            <th scope="col">Field</th>
            <th scope="col">Before</th>
            <th scope="col">After</th>
          </tr>
        </thead>
        <tbody>
          {changed.map(({ field, before, after }) => (
            <tr key={field}>
              <th scope="row">{field}</th>
              <td>{before}</td>
              <td>{after}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </details>
  );
}

/** Who changed what, newest first. */
export function Audit() {
  const filters = route.useSearch();
  const navigate = useNavigate();
  const list = useList<Line>(["audit", filters], (cursor) =>
    api.GET("/v1/audit", {
      params: { query: { ...filters, limit: 100, cursor, total: cursor === null } },
    }),
  );
  return (
    <Page title="Audit">
      <ListView
        filters={FILTERS}
        values={filters}
        go={(search) => void navigate({ to: "/audit", search })}
        caption="Changes"
        columns={COLUMNS}
        list={list}
        rowKey={(line) => String(line.id)}
        saveAs="audit"
        empty={
          <Empty title="No change found" command="posthorn audit list --since 2d">
            <p>Every change through the API is listed here, and each read of content.</p>
          </Empty>
        }
      />
    </Page>
  );
}
