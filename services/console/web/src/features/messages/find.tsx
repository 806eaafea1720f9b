import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import type { FormEvent } from "react";
import { api, type Schemas } from "../../api/client";
import { useList } from "../../api/queries";
import { Empty } from "../../parts/notices";
import { Page } from "../../parts/page";
import { SendTest } from "../../parts/send-test";
import { type Kind, State } from "../../parts/state";
import { type Column, DataTable } from "../../parts/table";
import { Time } from "../../parts/time";
import {
  asked,
  type Days,
  DIRECTIONS,
  type Direction,
  type Filters,
  isId,
  OUTCOMES,
  type Outcome,
  PERIODS,
} from "./filters";
import { SavedViews } from "./views";

type Found = Schemas["FoundMessageView"];

const route = getRouteApi("/find");
const MARKS: Readonly<Record<string, Kind>> = {
  accepted: "busy",
  queued: "busy",
  deferred: "warn",
  held: "warn",
  delivered: "good",
  relayed: "good",
  junk: "idle",
  quarantined: "warn",
  refused: "bad",
  bounced: "bad",
  expired: "bad",
  cancelled: "bad",
};

const COLUMNS: readonly Column<Found>[] = [
  { id: "received", title: "Received", cell: (found) => <Time at={found.received_at} /> },
  {
    id: "outcome",
    title: "Outcome",
    cell: (found) => <State kind={MARKS[found.outcome] ?? "idle"}>{found.outcome}</State>,
  },
  { id: "from", title: "From", cell: (found) => found.author || found.sender || "<>" },
  {
    id: "to",
    title: "To",
    cell: (found) => [found.recipient, ...found.targets].filter(Boolean).join(" → "),
  },
  {
    id: "subject",
    title: "Subject",
    prose: true,
    cell: (found) => (
      <Link to="/messages/$id" params={{ id: found.message }}>
        {found.subject || "(no subject)"}
      </Link>
    ),
  },
  { id: "why", title: "Why", prose: true, cell: (found) => text(found, "rule", "reply", "reason") },
];

function text(found: Found, ...names: string[]): string {
  const values = names.map((name) => found.detail[name]);
  return String(values.find((value) => typeof value === "string" && value !== "") ?? "");
}

/** One box for an id, addresses or a subject, and chips for outcome, direction and time. */
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
    <Page title="Find messages">
      <form className="filters wide" onSubmit={submit} key={filters.q ?? ""}>
        <input
          type="search"
          name="q"
          aria-label="Id, address, domain or words of the subject"
          placeholder="Id, address, @domain or subject"
          defaultValue={filters.q ?? ""}
        />
        <button type="submit" className="primary">
          Find
        </button>
      </form>
      <Chips filters={filters} go={go} />
      <SavedViews filters={filters} />
      <Results filters={filters} />
    </Page>
  );
}

function Chips({ filters, go }: { filters: Filters; go: (changed: Filters) => void }) {
  const { outcome, direction, days } = filters;
  const change = (name: keyof Filters, value: string) => {
    const { [name]: _, ...rest } = filters;
    go(value === "" ? rest : { ...rest, [name]: value });
  };
  return (
    <div className="filters">
      <Chip<Outcome>
        label="Outcome"
        value={outcome}
        choices={OUTCOMES}
        change={(value) => change("outcome", value)}
      />
      <Chip<Direction>
        label="Direction"
        value={direction}
        choices={DIRECTIONS}
        change={(value) => change("direction", value)}
      />
      <Chip<Days>
        label="Within"
        value={days}
        choices={PERIODS}
        words={(each) => (each === "1" ? "a day" : `${each} days`)}
        change={(value) => change("days", value)}
      />
    </div>
  );
}

function Chip<Value extends string>(properties: {
  label: string;
  value: Value | undefined;
  choices: readonly Value[];
  words?: (value: Value) => string;
  change: (value: string) => void;
}) {
  const { label, value, choices, words: said, change } = properties;
  return (
    <label>
      {label}{" "}
      <select value={value ?? ""} onChange={(event) => change(event.target.value)}>
        <option value="">any</option>
        {choices.map((each) => (
          <option key={each} value={each}>
            {said ? said(each) : each}
          </option>
        ))}
      </select>
    </label>
  );
}

function Results({ filters }: { filters: Filters }) {
  const isFiltered = Object.values(filters).some((value) => value !== undefined);
  const list = useList<Found>(["messages", "found", filters], (cursor) =>
    api.GET("/v1/messages", {
      params: { query: { ...asked(filters, Date.now()), limit: 50, cursor } },
    }),
  );
  return (
    <DataTable
      caption="Messages"
      saveAs="messages"
      columns={COLUMNS}
      list={list}
      rowKey={(found) => `${found.message} ${found.tenant} ${found.recipient}`}
      empty={
        isFiltered ? (
          <Empty title="No message found" command="posthorn messages find --help">
            <p>
              A message is found a few seconds after it came, and for as long as its events are
              kept. Of addresses and subjects whole words are found.
            </p>
          </Empty>
        ) : (
          <Empty title="No message yet" command="posthorn send-test --help">
            <p>Each message that comes, goes or is refused is listed here, the newest first.</p>
            <p>
              <SendTest />
            </p>
          </Empty>
        )
      }
    />
  );
}
