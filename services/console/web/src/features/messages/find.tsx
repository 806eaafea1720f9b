import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import type { FormEvent } from "react";
import { answer, api, type Schemas } from "../../api/client";
import { useList } from "../../api/queries";
import { CopyAs } from "../../parts/copy-as";
import { quoted } from "../../parts/curl";
import { Empty } from "../../parts/notices";
import { Page } from "../../parts/page";
import { type Kind, State } from "../../parts/state";
import { type Column, DataTable } from "../../parts/table";
import { Time } from "../../parts/time";
import { type Days, type Filters, isId, OUTCOMES, type Outcome, PERIODS } from "./filters";

type Found = Schemas["FoundEventView"];

const route = getRouteApi("/find");
const MARKS: Readonly<Record<string, Kind>> = {
  refused: "bad",
  quarantined: "warn",
  filed: "idle",
};

const COLUMNS: readonly Column<Found>[] = [
  { id: "at", title: "Time", cell: (found) => <Time at={found.at} /> },
  {
    id: "outcome",
    title: "Outcome",
    cell: (found) => <State kind={MARKS[found.kind] ?? "idle"}>{found.kind}</State>,
  },
  { id: "from", title: "From", cell: (found) => text(found, "author", "reverse_path") },
  { id: "to", title: "To", cell: (found) => recipients(found) },
  { id: "why", title: "Why", cell: (found) => text(found, "rule", "reason") },
  {
    id: "message",
    title: "Message",
    cell: (found) => (
      <Link to="/messages/$id" params={{ id: found.message }}>
        Open
      </Link>
    ),
  },
];

function text(found: Found, ...names: string[]): string {
  const values = names.map((name) => found.detail[name]);
  return String(values.find((value) => typeof value === "string" && value !== "") ?? "");
}

function recipients(found: Found): string {
  const { recipient, recipients: several } = found.detail;
  if (typeof recipient === "string") return recipient;
  return Array.isArray(several) ? several.join(", ") : "";
}

/** One box for an id or an address, chips for outcome and time. */
export function Find() {
  const filters = route.useSearch();
  const navigate = useNavigate();
  const go = (changed: Filters) => void navigate({ to: "/find", search: changed });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const wanted = String(new FormData(event.currentTarget).get("q") ?? "").trim();
    if (isId(wanted)) void navigate({ to: "/messages/$id", params: { id: wanted } });
    else {
      const { q: _, ...rest } = filters;
      go(wanted === "" ? rest : { ...rest, q: wanted });
    }
  };
  return (
    <Page
      title="Find messages"
      actions={
        <CopyAs
          command={["posthorn search", ...words(filters)].join(" ")}
          request={{ method: "GET", path: `/v1/messages${query(filters)}` }}
        />
      }
    >
      <form className="filters" onSubmit={submit} key={filters.q ?? ""}>
        <input
          type="search"
          name="q"
          aria-label="Message id or address"
          placeholder="Message id or address"
          defaultValue={filters.q ?? ""}
        />
        <button type="submit" className="primary">
          Find
        </button>
      </form>
      <Chips filters={filters} go={go} />
      <Results filters={filters} />
    </Page>
  );
}

function Chips({ filters, go }: { filters: Filters; go: (changed: Filters) => void }) {
  const { outcome, days, ...rest } = filters;
  return (
    <div className="filters">
      <label>
        Outcome{" "}
        <select
          value={outcome ?? ""}
          onChange={(event) => {
            const chosen = event.target.value as Outcome | "";
            go({ ...rest, ...(days ? { days } : {}), ...(chosen ? { outcome: chosen } : {}) });
          }}
        >
          <option value="">any</option>
          {OUTCOMES.map((each) => (
            <option key={each}>{each}</option>
          ))}
        </select>
      </label>
      <label>
        Within{" "}
        <select
          value={days ?? "1"}
          onChange={(event) =>
            go({
              ...rest,
              ...(outcome ? { outcome } : {}),
              days: event.target.value as Days,
            })
          }
        >
          {PERIODS.map((each) => (
            <option key={each} value={each}>
              {each === "1" ? "a day" : `${each} days`}
            </option>
          ))}
        </select>
      </label>
    </div>
  );
}

function Results({ filters }: { filters: Filters }) {
  const list = useList<Found>(["messages", "found", filters], (cursor) =>
    answer(
      api.GET("/v1/messages", {
        params: { query: { ...asked(filters), limit: 50, cursor: cursor ?? null } },
      }),
    ),
  );
  return (
    <DataTable
      caption="Messages"
      columns={COLUMNS}
      list={list}
      rowKey={(found) => `${found.message} ${found.kind} ${recipients(found)}`}
      empty={
        <Empty title="No message found" command="posthorn search --help">
          <p>Try a longer time, or another address.</p>
        </Empty>
      }
    />
  );
}

function asked(filters: Filters) {
  const since = new Date(Date.now() - Number(filters.days ?? "1") * 86_400_000);
  since.setSeconds(0, 0);
  return {
    since: since.toISOString(),
    ...(filters.q ? { recipient: filters.q } : {}),
    ...(filters.outcome ? { outcome: filters.outcome } : {}),
  };
}

function query(filters: Filters): string {
  return `?${new URLSearchParams(asked(filters))}`;
}

function words(filters: Filters): string[] {
  return [
    ...(filters.q ? [`--recipient ${quoted(filters.q)}`] : []),
    ...(filters.outcome ? [`--outcome ${filters.outcome}`] : []),
  ];
}
