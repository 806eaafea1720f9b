import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { api } from "../../api/client";
import { useList } from "../../api/queries";
import { FilterBar } from "../../parts/filter-bar";
import { Empty } from "../../parts/notices";
import { Page } from "../../parts/page";
import { State } from "../../parts/state";
import { type Column, DataTable } from "../../parts/table";
import { Time } from "../../parts/time";
import { quarantineFiltersIn, REASONS } from "./filters";
import { type Copy, REASON_MARKS } from "./reasons";
import { Releases } from "./releases";

const route = getRouteApi("/quarantine");

const COLUMNS: readonly Column<Copy>[] = [
  {
    id: "subject",
    title: "Subject",
    cell: (copy) => (
      <Link to="/quarantine/$id" params={{ id: copy.id }}>
        {copy.subject || "(no subject)"}
      </Link>
    ),
  },
  { id: "from", title: "From", cell: (copy) => copy.from || copy.reverse_path },
  { id: "recipient", title: "To", cell: (copy) => copy.recipient },
  {
    id: "reason",
    title: "Reason",
    cell: (copy) => <State kind={REASON_MARKS[copy.reason] ?? "warn"}>{copy.reason}</State>,
  },
  { id: "score", title: "Points", end: true, cell: (copy) => copy.score },
  { id: "rule", title: "Rule", cell: (copy) => copy.detail },
  { id: "created", title: "Withheld", cell: (copy) => <Time at={copy.created_at} /> },
  { id: "expires", title: "Deleted", cell: (copy) => <Time at={copy.expires_at} /> },
];

/** What was withheld from its recipients, a row for each copy. */
export function Quarantine() {
  const filters = route.useSearch();
  const navigate = useNavigate();
  const [ticked, setTicked] = useState<ReadonlySet<string>>(new Set());
  const list = useList<Copy>(
    ["quarantine", filters],
    (cursor) =>
      api.GET("/v1/quarantine", {
        params: { query: { ...filters, limit: 100, cursor } },
      }),
    { every: 30 },
  );
  return (
    <Page title="Quarantine">
      <FilterBar
        filters={[
          { name: "account", label: "Account" },
          { name: "domain", label: "Domain of the recipient" },
          { name: "reason", label: "Reason", options: REASONS },
        ]}
        values={{ ...filters }}
        apply={(values) =>
          void navigate({ to: "/quarantine", search: quarantineFiltersIn(values) })
        }
      />
      <Releases ids={[...ticked]} done={() => setTicked(new Set())} />
      <DataTable
        caption="Withheld messages"
        columns={COLUMNS}
        list={list}
        rowKey={(copy) => copy.id}
        ticks={{ ticked, change: setTicked }}
        empty={
          <Empty title="Nothing is withheld" command="posthorn quarantine list">
            <p>What the filters withhold waits here, until it is released or deleted by its age.</p>
          </Empty>
        }
      />
    </Page>
  );
}
