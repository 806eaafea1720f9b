import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import type { Call } from "../../api/call";
import { api, type OperationId, type Schemas } from "../../api/client";
import { useRefresh } from "../../api/events";
import { useCan } from "../../api/me";
import { useList } from "../../api/queries";
import { ActionsButton, Removal } from "../../parts/actions";
import { ListView } from "../../parts/list-view";
import { count } from "../../parts/moments";
import { Empty } from "../../parts/notices";
import { Page, Section } from "../../parts/page";
import { type Kind, State } from "../../parts/state";
import { SuppressButton } from "../../parts/suppress";
import { type Column, DataTable } from "../../parts/table";
import { Time } from "../../parts/time";
import { asked, FILTERS, selected } from "./filters";
import { told } from "./told";

type Item = Schemas["QueueItemView"];
type Group = Schemas["QueueGroupView"];
type Matched = Schemas["MatchedView"];
type Filters = ReturnType<typeof FILTERS.read>;

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
/** The states that the summary has. */
const WAITING = ["queued", "sending", "deferred", "held"] as const;
/** Events that move a recipient of the queue. */
const MOVING = [
  "queued",
  "delivered",
  "deferred",
  "bounced",
  "held",
  "released",
  "cancelled",
  "retried",
] as const;
/** Recipients in one request. */
const MOST = 1000;
interface QueueAction {
  label: string;
  needs: OperationId;
  said: string;
  send: (body: Schemas["QueueSelection"]) => Call<Matched>;
  undo?: (body: Schemas["QueueSelection"]) => Call<Matched>;
}
const ACTIONS: readonly QueueAction[] = [
  {
    label: "Retry",
    needs: "retryAllQueued",
    said: "Retrying",
    send: (body) => api.POST("/v1/queue/retry", { body }),
  },
  {
    label: "Hold",
    needs: "holdAllQueued",
    said: "Held",
    undo: (body) => api.POST("/v1/queue/release", { body }),
    send: (body) => api.POST("/v1/queue/hold", { body }),
  },
  {
    label: "Release",
    needs: "releaseAllQueued",
    said: "Released",
    undo: (body) => api.POST("/v1/queue/hold", { body }),
    send: (body) => api.POST("/v1/queue/release", { body }),
  },
];

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
  {
    id: "sender",
    title: "From, subject",
    cell: (item) => (
      <>
        {item.sender || "our own notification"}
        <br />
        <span className="weak">{item.subject}</span>
      </>
    ),
  },
  {
    id: "state",
    title: "State",
    cell: (item) => (
      <>
        <State kind={MARKS[item.state] ?? "idle"}>{item.state}</State>
        {item.attempts > 0 && (
          <div className="weak">
            {count(item.attempts)}&nbsp;{item.attempts === 1 ? "attempt" : "attempts"}
          </div>
        )}
      </>
    ),
  },
  {
    id: "reply",
    title: "Last reply",
    prose: true,
    cell: (item) => item.last_reply ?? item.next_hop_reply ?? <span className="weak">none</span>,
  },
  {
    id: "next",
    title: "Next attempt",
    sort: "due",
    cell: (item) => (item.next_attempt_at ? <Time at={item.next_attempt_at} /> : ""),
  },
  {
    id: "created",
    title: "Queued",
    sort: "created",
    cell: (item) => <Time at={item.created_at} />,
  },
];

/** Leads to the form for a route of a destination. */
const ROUTE: Column<Group> = {
  id: "route",
  title: "Route",
  cell: (group) => (
    <Link
      to="/routes"
      search={{ create: true, domain: group.domain }}
      aria-label={`Add a route for ${group.domain}`}
    >
      Add…
    </Link>
  ),
};

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
    title: "A recent reply",
    prose: true,
    cell: (group) =>
      group.sample_reply ?? group.next_hop_reply ?? <span className="weak">none</span>,
  },
];

export function Queue() {
  const filters = route.useSearch();
  const navigate = useNavigate();
  const [ticked, setTicked] = useState<ReadonlySet<string>>(new Set());
  const every = useRefresh("queue", MOVING) ? 60 : 15;
  const list = useList<Item>(
    ["queue", filters],
    (cursor) =>
      api.GET("/v1/queue", {
        params: { query: { ...asked(filters), limit: 100, cursor, total: cursor === null } },
      }),
    { every },
  );
  return (
    <Page title="Queue">
      <ListView
        filters={FILTERS}
        values={filters}
        go={(search) => void navigate({ to: "/queue", search })}
        caption="Recipients in the queue"
        columns={COLUMNS}
        list={list}
        rowKey={(item) => String(item.id)}
        ticks={{ ticked, change: setTicked }}
        empty={
          <Empty title="Nothing waits" command="posthorn queue list --state waiting">
            <p>Messages to other servers are here until they are delivered or given up.</p>
          </Empty>
        }
      >
        <Summary filters={filters} every={every} />
        <h2>By recipient</h2>
        <Which filters={filters} />
        {list.items.length > 0 && (
          <Actions
            filters={filters}
            rows={list.items.filter((item) => ticked.has(String(item.id)))}
            total={list.total}
            done={() => setTicked(new Set())}
          />
        )}
      </ListView>
    </Page>
  );
}

/** What waits, by destination; each line leads to its recipients. */
function Summary(properties: { filters: Filters; every: number }) {
  const { filters, every } = properties;
  const can = useCan();
  const { sort: _sort, state: chosenState, ...others } = filters;
  const wanted = chosenState === "all" ? undefined : chosenState;
  const state = WAITING.find((each) => each === wanted);
  const chosen = { ...others, ...(state === undefined ? {} : { state }) };
  const list = useList<Group>(
    ["queue", "summary", chosen],
    (cursor) =>
      api.GET("/v1/queue/summary", {
        params: { query: { ...chosen, limit: 20, cursor } },
      }),
    { every, enabled: wanted === state },
  );
  if (list.items.length === 0 || wanted !== state) return null;
  return (
    <Section title="By destination">
      <DataTable
        caption="Destinations"
        columns={can("createRoute") ? [...GROUPS, ROUTE] : GROUPS}
        list={list}
        rowKey={(group) => `${group.domain} ${group.state} ${group.reply_class}`}
        empty={null}
      />
    </Section>
  );
}

/** Waiting recipients, or the finished ones too. */
function Which({ filters }: { filters: Filters }) {
  const { state: _, ...others } = filters;
  return (
    <nav className="tab-links" aria-label="Which recipients">
      <Link to="/queue" search={others} activeOptions={{ exact: true, includeSearch: true }}>
        Waiting
      </Link>
      <Link
        to="/queue"
        search={{ ...others, state: "all" }}
        activeOptions={{ exact: true, includeSearch: true }}
      >
        All, with finished ones
      </Link>
    </nav>
  );
}

/** What can be done to the ticked recipients, or to all that the filters match. */
function Actions(properties: {
  filters: Filters;
  rows: readonly Item[];
  total: number | null;
  done: () => void;
}) {
  const { filters, rows, total, done } = properties;
  const can = useCan();
  const [isWhole, setIsWhole] = useState(false);
  const all = selected(filters);
  const isAll = isWhole && all !== null;
  const ids = rows.map((row) => row.id);
  const none = ids.length === 0;
  const bodies = (): readonly Schemas["QueueSelection"][] =>
    isAll ? [all] : parts(ids).map((lot) => ({ ids: lot }));
  const finish = () => {
    setIsWhole(false);
    done();
  };
  const matched = total === null ? "all" : `about ${count(total)}`;
  return (
    <div className="filters">
      {ACTIONS.filter(({ needs }) => can(needs)).map(({ label, said, send, undo }) =>
        isAll ? (
          <Removal
            key={label}
            title={`${label} all that match`}
            label={`${label}…`}
            text={`This is done to ${matched} recipients that the filters match, where their state permits it.`}
            call={() => bodies().map(send)}
            changes={["queue"]}
            said={(answers) => told(said, answers as readonly Matched[])}
            done={finish}
          />
        ) : (
          <ActionsButton<Matched>
            key={label}
            label={label}
            disabled={none}
            calls={() => bodies().map(send)}
            changes={["queue"]}
            said={(answers) => told(said, answers)}
            {...(undo ? { undo: () => bodies().map(undo) } : {})}
            done={finish}
          />
        ),
      )}
      {can("cancelAllQueued") && (
        <Removal
          title="Cancel delivery"
          label="Cancel…"
          disabled={none && !isAll}
          text={`${isAll ? `What the filters match (${matched} recipients)` : `What is selected (${ids.length} recipients)`} is not sent, and the senders are not told.`}
          call={() => bodies().map((body) => api.POST("/v1/queue/cancel", { body }))}
          changes={["queue"]}
          said={(answers) => told("Cancelled", answers as readonly Matched[])}
          done={finish}
        />
      )}
      {can("suppress") && (
        <SuppressButton
          label="Suppress"
          disabled={none || isAll}
          addresses={() => addressesOf(rows)}
          reason="by hand, from the queue"
          done={finish}
        />
      )}
      <span className="weak">{isAll ? matched : ids.length} selected</span>
      {all !== null && total !== 0 && can("holdAllQueued") && (
        <label>
          <input
            type="checkbox"
            checked={isWhole}
            onChange={(event) => setIsWhole(event.target.checked)}
          />{" "}
          All that the filters match
        </label>
      )}
    </div>
  );
}

function addressesOf(rows: readonly Item[]): string[] {
  return [...new Set(rows.map((row) => row.recipient))];
}

/** Return ids in lots of as many as a request takes. */
function parts(ids: readonly number[]): number[][] {
  return Array.from({ length: Math.ceil(ids.length / MOST) }, (_, lot) =>
    ids.slice(lot * MOST, (lot + 1) * MOST),
  );
}
