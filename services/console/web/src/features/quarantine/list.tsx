import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { api } from "../../api/client";
import { useMe } from "../../api/me";
import { useList } from "../../api/queries";
import { FilterBar } from "../../parts/filter-bar";
import { Empty, NothingMatches } from "../../parts/notices";
import { Page } from "../../parts/page";
import { nameOfReason, PointsNote, Reason } from "../../parts/reasons";
import type { Search } from "../../parts/search";
import { type Column, DataTable } from "../../parts/table";
import { Time } from "../../parts/time";
import { quarantineFiltersIn, REASONS } from "./filters";
import type { Copy } from "./reasons";
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
    cell: (copy) => <Reason reason={copy.reason} />,
  },
  { id: "score", title: "Points", sort: "score", end: true, cell: (copy) => copy.score },
  { id: "rule", title: "Why", prose: true, cell: (copy) => copy.detail },
  {
    id: "created",
    title: "Withheld",
    sort: "created",
    cell: (copy) => <Time at={copy.created_at} />,
  },
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
        params: { query: { ...filters, limit: 100, cursor, total: cursor === null } },
      }),
    { every: 30 },
  );
  const isOfTenant = useMe().data?.tenant !== null;
  const { sort, ...chosen } = filters;
  const isFiltered = Object.values(chosen).some((value) => value !== undefined);
  const go = (search: Search) =>
    void navigate({ to: "/quarantine", search: quarantineFiltersIn(search) });
  return (
    <Page title="Quarantine">
      <FilterBar
        filters={[
          { name: "q", label: "Address or subject" },
          { name: "account", label: "Account" },
          { name: "domain", label: "Domain of the recipient" },
          ...(isOfTenant ? [] : [{ name: "tenant", label: "Tenant" }]),
          { name: "reason", label: "Reason", options: REASONS, words: nameOfReason },
        ]}
        values={{ ...filters }}
        apply={(values) => go({ ...values, sort })}
      />
      {list.items.length > 0 && <Releases ids={[...ticked]} done={() => setTicked(new Set())} />}
      <PointsNote />
      <DataTable
        caption="Withheld messages"
        columns={COLUMNS}
        list={list}
        rowKey={(copy) => copy.id}
        ticks={{ ticked, change: setTicked }}
        sorting={{ sort, change: (order) => go({ ...filters, sort: order }) }}
        empty={
          isFiltered ? (
            <NothingMatches clear={() => go({ sort })} />
          ) : (
            <Empty title="Nothing is withheld" command="posthorn quarantine list">
              <p>
                What the filters withhold waits here, until it is released or deleted by its age.
              </p>
            </Empty>
          )
        }
      />
    </Page>
  );
}
