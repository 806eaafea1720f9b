import { getRouteApi, Link } from "@tanstack/react-router";
import { useState } from "react";
import { answer, api, type Schemas } from "../../api/client";
import { useEvents } from "../../api/events";
import { useCan } from "../../api/me";
import type { Problem } from "../../api/problem";
import { useOne } from "../../api/queries";
import { ActionButton, Removal } from "../../parts/actions";
import { Copy } from "../../parts/copy";
import { CopyAs } from "../../parts/copy-as";
import { count, duration, size } from "../../parts/moments";
import { Empty, Failure, Loading } from "../../parts/notices";
import { Facts, Page } from "../../parts/page";
import { Mark, State } from "../../parts/state";
import { SuppressButton } from "../../parts/suppress";
import { type Column, RowTable } from "../../parts/table";
import { Time } from "../../parts/time";
import { fold, joined, type Lane, lineOf, type Step, type TraceEvent } from "./lanes";

const route = getRouteApi("/messages/$id");

/** Fields of the event with which a message came, or was refused. */
const ARRIVAL = [
  ["subject", "Subject"],
  ["reverse_path", "Reverse-path"],
  ["from", "From"],
  ["service", "Received by"],
  ["client", "Client"],
  ["helo", "HELO"],
] as const;

/** A message's whole way: accepted, kept, tried, delivered or returned, with each reply. */
export function MessagePage() {
  const { id } = route.useParams();
  const { view } = route.useSearch();
  const [heard, setHeard] = useState<{ id: string; events: readonly TraceEvent[] }>({
    id,
    events: [],
  });
  const ofThis = (all: typeof heard) => (all.id === id ? all.events : []);
  const own = ofThis(heard);
  const isLive = useEvents(
    { message: id },
    {
      hear: ({ timestamp, type, data: { message: _, ...detail } }) =>
        setHeard((before) => ({
          id,
          events: joined(ofThis(before), [{ at: timestamp, kind: type, detail }]),
        })),
      missed: () => void trace.refetch(),
    },
  );
  const trace = useOne(
    ["messages", id, "trace"],
    () => answer(api.GET("/v1/messages/{id}/trace", { params: { path: { id } } })),
    { every: isLive ? 30 : 5 },
  );
  if (trace.data === undefined && own.length === 0)
    return (
      <Page title="Message">
        {trace.isPending ? <Loading /> : <NoTrace problem={trace.error} />}
      </Page>
    );
  const events = joined(trace.data?.items ?? [], own);
  const { steps, lanes } = fold(events);
  return (
    <Page
      title="Message"
      tab={subjectOf(steps)}
      actions={
        <>
          {isLive && <State kind="busy">live</State>}
          {trace.data?.trace_url && (
            <a className="button" href={trace.data.trace_url} target="_blank" rel="noopener">
              Trace
            </a>
          )}
          <CopyAs
            calls={() => [api.GET("/v1/messages/{id}/trace", { params: { path: { id } } })]}
          />
        </>
      }
    >
      <Head id={id} steps={steps} />
      <WaitingActions id={id} lanes={lanes} />
      <nav className="tab-links" aria-label="Views of the message">
        <Link
          to="/messages/$id"
          params={{ id }}
          activeOptions={{ exact: true, includeSearch: true }}
        >
          By recipient
        </Link>
        <Link to="/messages/$id" params={{ id }} search={{ view: "compact" }}>
          Compact
        </Link>
        <Link to="/messages/$id" params={{ id }} search={{ view: "all" }}>
          All events
        </Link>
        <Link to="/messages/$id" params={{ id }} search={{ view: "json" }}>
          JSON
        </Link>
      </nav>
      {view === "json" ? (
        <Json events={events} />
      ) : view === "all" || lanes.length === 0 ? (
        <Steps steps={steps} />
      ) : view === "compact" ? (
        <RowTable
          caption="Recipients of the message"
          columns={COMPACT}
          rows={lanes}
          rowKey={(lane) => lane.recipient}
        />
      ) : (
        lanes.map((lane) => <LaneView key={lane.recipient} lane={lane} />)
      )}
    </Page>
  );
}

/** What can be done to the recipients that still wait. */
function WaitingActions({ id, lanes }: { id: string; lanes: readonly Lane[] }) {
  const can = useCan();
  const isHeld = lanes.some((lane) => lane.isHeld);
  const isMoving = lanes.some((lane) => lane.waits && !lane.isHeld);
  if (!isHeld && !isMoving) return null;
  const body = { message: id };
  const told = (done: string) => (answer: Schemas["MatchedView"]) =>
    `${done}: ${count(answer.matched)}`;
  const changes = ["messages", "queue"];
  return (
    <div className="filters">
      {isMoving && can("retryAllQueued") && (
        <ActionButton
          label="Retry now"
          call={() => api.POST("/v1/queue/retry", { body })}
          changes={changes}
          said={told("Retrying")}
        />
      )}
      {isMoving && can("holdAllQueued") && (
        <ActionButton
          label="Hold"
          call={() => api.POST("/v1/queue/hold", { body })}
          changes={changes}
          said={told("Held")}
          undo={() => api.POST("/v1/queue/release", { body })}
        />
      )}
      {isHeld && can("releaseAllQueued") && (
        <ActionButton
          label="Release"
          call={() => api.POST("/v1/queue/release", { body })}
          changes={changes}
          said={told("Released")}
          undo={() => api.POST("/v1/queue/hold", { body })}
        />
      )}
      {can("cancelAllQueued") && (
        <Removal
          title="Cancel delivery"
          label="Cancel…"
          text="What of this message still waits is not sent, and its sender is not told."
          call={() => api.POST("/v1/queue/cancel", { body })}
          changes={changes}
          said="Cancelled the delivery"
        />
      )}
    </div>
  );
}

function NoTrace({ problem }: { problem: Problem }) {
  if (problem.status !== 404) return <Failure problem={problem} />;
  return (
    <Empty title="No events" command="posthorn messages find --help">
      <p>
        Nothing is known of this message: its id is wrong, it belongs to another tenant, or its
        events are older than their retention.
      </p>
    </Empty>
  );
}

function arrivalOf(steps: readonly Step[]): Step | undefined {
  return steps.find((step) => step.kind === "accepted" || step.kind === "refused");
}

function subjectOf(steps: readonly Step[]): string | undefined {
  const subject = arrivalOf(steps)?.detail.subject;
  return typeof subject === "string" && subject !== "" ? subject : undefined;
}

/** What is known of the message itself: of one that was refused, some of it. */
function Head({ id, steps }: { id: string; steps: readonly Step[] }) {
  const first = arrivalOf(steps);
  const detail = first?.detail ?? {};
  const facts = ARRIVAL.flatMap(([name, label]) => {
    const value = detail[name];
    return typeof value === "string" && value !== "" ? [[label, value] as const] : [];
  });
  return (
    <Facts
      facts={[
        [
          "Message id",
          <span key="id">
            <code>{id}</code> <Copy text={id} what="message id" />
          </span>,
        ],
        ...(typeof detail.message_id === "string" && detail.message_id !== ""
          ? [["Message-ID header", <HeaderId key="header" value={detail.message_id} />] as const]
          : []),
        ...facts,
        ...(typeof detail.size === "number" ? [["Size", size(detail.size)] as const] : []),
        ...(first ? [["Received", <Time key="at" at={first.at} />] as const] : []),
      ]}
    />
  );
}

function HeaderId({ value }: { value: string }) {
  return (
    <span>
      <code>{value}</code> <Copy text={value} what="Message-ID field" />
    </span>
  );
}

const COMPACT: readonly Column<Lane>[] = [
  { id: "recipient", title: "Recipient", cell: (lane) => lane.recipient },
  {
    id: "state",
    title: "State",
    cell: (lane) => <State kind={lane.mark}>{lane.state}</State>,
  },
  { id: "steps", title: "Steps", cell: (lane) => lineOf(lane).words.join(" → ") },
  { id: "took", title: "Took", cell: (lane) => duration(lineOf(lane).seconds) },
  {
    id: "reply",
    title: "Last reply",
    cell: (lane) => {
      const { reply } = lineOf(lane);
      return reply && <code className="reply">{reply}</code>;
    },
  },
];

function LaneView({ lane }: { lane: Lane }) {
  return (
    <section className="lane" aria-label={lane.recipient}>
      <header className="page-head">
        <h2>{lane.recipient}</h2>
        <State kind={lane.mark}>{lane.state}</State>
      </header>
      <LaneActions lane={lane} />
      <Steps steps={lane.steps} />
    </section>
  );
}

/** What leads on from a recipient: its account, or that it gets no more mail. */
function LaneActions({ lane }: { lane: Lane }) {
  const can = useCan();
  const { recipient } = lane;
  const isHere = lane.steps.some(({ kind, host }) => kind === "delivered" && host === "");
  return (
    <div className="actions">
      {isHere && can("getAccount") && (
        <Link to="/accounts/$address" params={{ address: recipient }}>
          Account
        </Link>
      )}
      {(lane.waits || lane.mark === "bad") && !isHere && can("suppress") && (
        <SuppressButton
          label="Suppress address"
          name={`Suppress ${recipient}`}
          addresses={() => [recipient]}
          reason={lane.state.toLowerCase()}
        />
      )}
    </div>
  );
}

function Steps({ steps }: { steps: readonly Step[] }) {
  return (
    <ol className="timeline">
      {steps.map((step, place) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: two events may be alike in all they hold
        <li key={`${step.at} ${step.kind} ${place}`}>
          <p className="step-head">
            <Mark kind={step.mark} /> <strong>{step.words}</strong> <Time at={step.at} />{" "}
            {step.after !== null && step.after > 0 && (
              <span className="weak">after {duration(step.after)}</span>
            )}
          </p>
          {(step.host || step.tls) && (
            <p className="weak">
              {[step.host && `Host ${step.host}`, step.tls && `TLS ${step.tls}`]
                .filter(Boolean)
                .join(" · ")}
            </p>
          )}
          {step.reply && (
            <p>
              <code className="reply">{step.reply}</code>
            </p>
          )}
          {step.meaning && <p>{step.meaning}</p>}
          {step.again !== null && place === steps.length - 1 && (
            <p>
              Next attempt: <Time at={step.again} />
            </p>
          )}
        </li>
      ))}
    </ol>
  );
}

function Json({ events }: { events: readonly TraceEvent[] }) {
  const text = JSON.stringify(events, null, 2);
  return (
    <>
      <Copy text={text} what="events as JSON" label="Copy events as JSON" />
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls takes the arrow keys */}
      <pre className="json" tabIndex={0}>
        {text}
      </pre>
    </>
  );
}
