import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { type FormEvent, useState } from "react";
import { answer, api, type Schemas } from "../../api/client";
import { useCan } from "../../api/me";
import { useAction, useList } from "../../api/queries";
import { Confirm } from "../../parts/confirm";
import { CopyAs } from "../../parts/copy-as";
import { count } from "../../parts/moments";
import { Empty, Failure } from "../../parts/notices";
import { Page } from "../../parts/page";
import { type Kind, State } from "../../parts/state";
import { type Column, DataTable } from "../../parts/table";
import { Time } from "../../parts/time";
import { type QueueFilters, type QueueState, STATES } from "./filters";
import { told } from "./told";

type Item = Schemas["QueueItemView"];
type Group = Schemas["QueueGroupView"];
type Matched = Schemas["MatchedView"];
type Action = "retry" | "hold" | "release" | "cancel";

const route = getRouteApi("/queue");
const MARKS: Readonly<Record<string, Kind>> = {
  queued: "busy",
  sending: "busy",
  deferred: "warn",
  held: "warn",
  bounced: "bad",
  cancelled: "bad",
  delivered: "good",
};
/** Recipients in one request. */
const MOST = 1000;
const DONE: Readonly<Record<Action, string>> = {
  retry: "Retrying",
  hold: "Held",
  release: "Released",
  cancel: "Cancelled",
};

const COLUMNS: readonly Column<Item>[] = [
  {
    id: "recipient",
    title: "Recipient",
    cell: (item) => (
      <Link to="/messages/$id" params={{ id: item.message }}>
        {item.recipient}
      </Link>
    ),
  },
  { id: "sender", title: "From", cell: (item) => item.sender || "our own notification" },
  { id: "subject", title: "Subject", cell: (item) => item.subject },
  {
    id: "state",
    title: "State",
    cell: (item) => <State kind={MARKS[item.state] ?? "idle"}>{item.state}</State>,
  },
  { id: "attempts", title: "Attempts", end: true, cell: (item) => item.attempts },
  {
    id: "reply",
    title: "Last reply",
    cell: (item) => item.last_reply ?? item.next_hop_reply ?? <span className="weak">none</span>,
  },
  {
    id: "next",
    title: "Next attempt",
    cell: (item) => (item.next_attempt_at ? <Time at={item.next_attempt_at} /> : ""),
  },
  { id: "created", title: "Queued", cell: (item) => <Time at={item.created_at} /> },
];

const GROUPS: readonly Column<Group>[] = [
  {
    id: "domain",
    title: "Destination",
    cell: (group) => (
      <Link to="/queue" search={{ domain: group.domain, state: group.state }}>
        {group.domain}
      </Link>
    ),
  },
  {
    id: "state",
    title: "State",
    cell: (group) => <State kind={MARKS[group.state] ?? "idle"}>{group.state}</State>,
  },
  { id: "recipients", title: "Recipients", end: true, cell: (group) => count(group.recipients) },
  { id: "oldest", title: "Oldest", cell: (group) => <Time at={group.oldest_at} /> },
  {
    id: "next",
    title: "Next attempt",
    cell: (group) => (group.next_attempt_at ? <Time at={group.next_attempt_at} /> : ""),
  },
  {
    id: "reply",
    title: "A reply of them",
    cell: (group) =>
      group.sample_reply ?? group.next_hop_reply ?? <span className="weak">none</span>,
  },
];

export function Queue() {
  const filters = route.useSearch();
  const [ticked, setTicked] = useState<ReadonlySet<string>>(new Set());
  const list = useList<Item>(
    ["queue", filters],
    (cursor) =>
      answer(
        api.GET("/v1/queue", {
          params: { query: { ...filters, limit: 100, cursor: cursor ?? null } },
        }),
      ),
    { every: 15 },
  );
  const words = Object.entries(filters).map(([name, value]) => `--${name} ${value}`);
  return (
    <Page
      title="Queue"
      actions={
        <CopyAs
          command={["posthorn queue list", ...words].join(" ")}
          request={{ method: "GET", path: `/v1/queue?${new URLSearchParams({ ...filters })}` }}
        />
      }
    >
      <Summary filters={filters} />
      <FilterBar filters={filters} />
      <Actions ticked={ticked} done={() => setTicked(new Set())} />
      <DataTable
        caption="Recipients in the queue"
        columns={COLUMNS}
        list={list}
        rowKey={(item) => String(item.id)}
        ticks={{ ticked, change: setTicked }}
        empty={
          <Empty title="Nothing waits" command="posthorn queue list">
            <p>Messages to other servers are here until they are delivered or given up.</p>
          </Empty>
        }
      />
    </Page>
  );
}

/** What waits, by destination; each line leads to its recipients. */
function Summary({ filters }: { filters: QueueFilters }) {
  const list = useList<Group>(
    ["queue", "summary", filters],
    (cursor) =>
      answer(
        api.GET("/v1/queue/summary", {
          params: { query: { ...filters, limit: 20, cursor: cursor ?? null } },
        }),
      ),
    { every: 15 },
  );
  return (
    <DataTable
      caption="Destinations"
      columns={GROUPS}
      list={list}
      rowKey={(group) => `${group.domain} ${group.state} ${group.reply_class}`}
      empty={null}
    />
  );
}

function FilterBar({ filters }: { filters: QueueFilters }) {
  const navigate = useNavigate();
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const values = new FormData(event.currentTarget);
    const domain = String(values.get("domain") ?? "").trim();
    const state = String(values.get("state") ?? "") as QueueState | "";
    void navigate({
      to: "/queue",
      search: { ...(domain ? { domain } : {}), ...(state ? { state } : {}) },
    });
  };
  return (
    <form className="filters" onSubmit={submit}>
      <input
        type="search"
        name="domain"
        aria-label="Domain of the recipient"
        placeholder="Domain of the recipient"
        defaultValue={filters.domain ?? ""}
      />
      <label>
        State{" "}
        <select name="state" defaultValue={filters.state ?? ""}>
          <option value="">any</option>
          {STATES.map((state) => (
            <option key={state}>{state}</option>
          ))}
        </select>
      </label>
      <button type="submit">Filter</button>
    </form>
  );
}

function Actions({ ticked, done }: { ticked: ReadonlySet<string>; done: () => void }) {
  const can = useCan();
  const [isAsked, setIsAsked] = useState(false);
  const act = useAction((action: Action) => request(action, [...ticked].map(Number)), {
    changes: ["queue"],
    said: (answers, action) => told(DONE[action], answers),
    done: () => {
      setIsAsked(false);
      done();
    },
  });
  const none = ticked.size === 0 || act.isPending;
  return (
    <>
      <div className="filters">
        {can("retryAllQueued") && (
          <button type="button" disabled={none} onClick={() => act.mutate("retry")}>
            Retry
          </button>
        )}
        {can("holdAllQueued") && (
          <button type="button" disabled={none} onClick={() => act.mutate("hold")}>
            Hold
          </button>
        )}
        {can("releaseAllQueued") && (
          <button type="button" disabled={none} onClick={() => act.mutate("release")}>
            Release
          </button>
        )}
        {can("cancelAllQueued") && (
          <button type="button" disabled={none} onClick={() => setIsAsked(true)}>
            Cancel…
          </button>
        )}
        <span className="weak">{ticked.size} selected</span>
      </div>
      <Failure problem={isAsked ? null : act.error} />
      {isAsked && (
        <Confirm
          title="Cancel delivery"
          text={`The selected messages (${ticked.size}) are not sent, and their senders are not told.`}
          action="Cancel delivery"
          problem={act.error}
          isRunning={act.isPending}
          confirm={() => act.mutate("cancel")}
          close={() => setIsAsked(false)}
        />
      )}
    </>
  );
}

/** Act on recipients, as many in a request as the API takes. */
async function request(action: Action, ids: readonly number[]): Promise<readonly Matched[]> {
  const answers: Matched[] = [];
  for (let at = 0; at < ids.length; at += MOST) {
    const body = { ids: ids.slice(at, at + MOST), all: false };
    answers.push(await answer(send(action, body)));
  }
  return answers;
}

function send(action: Action, body: Schemas["QueueSelection"]) {
  switch (action) {
    case "retry":
      return api.POST("/v1/queue/retry", { body });
    case "hold":
      return api.POST("/v1/queue/hold", { body });
    case "release":
      return api.POST("/v1/queue/release", { body });
    case "cancel":
      return api.POST("/v1/queue/cancel", { body });
  }
}
