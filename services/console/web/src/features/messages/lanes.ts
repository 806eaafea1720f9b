/** The events of a message folded into what a person reads: a lane for each recipient. */
import type { Kind } from "../../parts/state";

export interface TraceEvent {
  at: string;
  kind: string;
  detail: Readonly<Record<string, unknown>>;
  meaning?: string | null;
}

export interface Step {
  at: string;
  kind: string;
  mark: Kind;
  /** What happened, in words. */
  words: string;
  /** The recipients that it is about; none: all. */
  recipients: readonly string[];
  host: string;
  tls: string;
  reply: string;
  /** What the reply means; empty without one. */
  meaning: string;
  /** When a deferred recipient is tried again, in seconds since the epoch; null: it is not known. */
  again: number | null;
  /** Seconds since the step before in the same lane, or null for the first. */
  after: number | null;
  detail: Readonly<Record<string, unknown>>;
}

export interface Lane {
  recipient: string;
  steps: readonly Step[];
  /** How it stands. */
  state: string;
  mark: Kind;
  /** Whether the recipient is still in the queue. */
  waits: boolean;
  /** Whether it waits until somebody releases it. */
  isHeld: boolean;
}

export interface Folded {
  steps: readonly Step[];
  lanes: readonly Lane[];
}

const WORDS: Readonly<Record<string, readonly [Kind, string]>> = {
  accepted: ["good", "Accepted"],
  scanned: ["idle", "Scanned"],
  refused: ["bad", "Refused"],
  filed: ["idle", "Filed"],
  quarantined: ["warn", "Quarantined"],
  restored: ["good", "Released from quarantine"],
  classified: ["idle", "Classified"],
  queued: ["busy", "Queued for other servers"],
  delivered: ["good", "Delivered"],
  deferred: ["warn", "Deferred"],
  bounced: ["bad", "Bounced"],
  notice: ["idle", "Notice sent to the sender"],
  held: ["warn", "Held"],
  released: ["busy", "Released"],
  cancelled: ["bad", "Cancelled"],
  retried: ["busy", "Retried by an administrator"],
  read: ["good", "Read"],
  complained: ["bad", "Reported as spam by its recipient"],
};

/** How a lane stands after an event of this kind; what is not here changes nothing. */
const STANDING: readonly string[] = [
  "refused",
  "quarantined",
  "restored",
  "queued",
  "delivered",
  "deferred",
  "bounced",
  "held",
  "released",
  "cancelled",
  "retried",
  "read",
];

const WAITING: readonly string[] = ["queued", "deferred", "held", "released", "retried"];

/** Return the events of a trace with those that were heard since, and are not in it yet. */
export function joined(
  trace: readonly TraceEvent[],
  heard: readonly TraceEvent[],
): readonly TraceEvent[] {
  const known = new Set(trace.map(identity));
  return [...trace, ...heard.filter((event) => !known.has(identity(event)))];
}

/* a stream tells the time in milliseconds, a trace in microseconds */
function identity({ at, kind, detail }: TraceEvent): string {
  return [Math.floor(Date.parse(at)), kind, ...recipientsOf(detail)].join(" ");
}

export function fold(events: readonly TraceEvent[]): Folded {
  const ordered = [...events].sort((one, other) => Date.parse(one.at) - Date.parse(other.at));
  const steps = withPauses(ordered.map(step));
  const names = [...new Set(steps.flatMap((each) => each.recipients))];
  const lanes = names.map((recipient) => {
    const own = withPauses(
      steps.filter((each) => each.recipients.length === 0 || each.recipients.includes(recipient)),
    );
    const last = own.findLast(
      (each) => STANDING.includes(each.kind) && each.recipients.includes(recipient),
    );
    return {
      recipient,
      steps: own,
      state: last?.words ?? "Accepted",
      mark: last?.mark ?? ("busy" as Kind),
      waits: last !== undefined && WAITING.includes(last.kind),
      isHeld: last?.kind === "held",
    };
  });
  return { steps, lanes };
}

/** A lane in one line. */
export interface Line {
  /** The steps in few words; those of one kind in a row are one. */
  words: readonly string[];
  /** Seconds from the first step to the last. */
  seconds: number;
  /** The last reply of a host; empty: none. */
  reply: string;
}

export function lineOf({ steps }: Lane): Line {
  const runs: { words: string; times: number }[] = [];
  for (const { kind, words } of steps) {
    const short = WORDS[kind]?.[1] ?? words;
    const last = runs.at(-1);
    if (last?.words === short) last.times += 1;
    else runs.push({ words: short, times: 1 });
  }
  return {
    words: runs.map(({ words, times }) => (times === 1 ? words : `${words} ×${times}`)),
    seconds: steps.reduce((sum, { after }) => sum + (after ?? 0), 0),
    reply: steps.findLast(({ reply }) => reply !== "")?.reply ?? "",
  };
}

function step(event: TraceEvent): Step {
  const [mark, words] = WORDS[event.kind] ?? (["idle", event.kind] as const);
  const { detail } = event;
  const text = (name: string) => (typeof detail[name] === "string" ? (detail[name] as string) : "");
  return {
    at: event.at,
    kind: event.kind,
    mark,
    words: wordsOf(event, words, text),
    recipients: recipientsOf(detail),
    host: text("host"),
    tls: text("tls"),
    reply: text("reply"),
    meaning: event.meaning ?? "",
    again: typeof detail.next_attempt_at === "number" ? detail.next_attempt_at : null,
    after: null,
    detail,
  };
}

function wordsOf(event: TraceEvent, words: string, text: (name: string) => string): string {
  switch (event.kind) {
    case "accepted": {
      const account = text("account");
      return account ? `Accepted from ${account.replace(/^key:/, "the API key ")}` : "Accepted";
    }
    case "scanned":
      return typeof event.detail.score === "number"
        ? `Scanned: ${event.detail.score} points`
        : words;
    case "filed":
      return text("action") ? `Filed (${text("action")})` : words;
    case "delivered":
      return text("host") ? `Delivered to ${text("host")}` : "Delivered to the mailbox";
    case "held":
    case "released":
    case "cancelled":
      return text("by") ? `${words} by ${text("by")}` : words;
    case "classified":
      return text("classification") ? `Classified as ${text("classification")}` : words;
    case "refused":
      return text("reason") ? `Refused: ${text("reason")}` : words;
  }
  return words;
}

function recipientsOf(detail: Readonly<Record<string, unknown>>): string[] {
  if (typeof detail.recipient === "string") return [detail.recipient];
  if (Array.isArray(detail.recipients))
    return detail.recipients.filter((each): each is string => typeof each === "string");
  return [];
}

function withPauses(steps: readonly Step[]): Step[] {
  return steps.map((each, place) => {
    const before = steps[place - 1];
    return {
      ...each,
      after: before ? (Date.parse(each.at) - Date.parse(before.at)) / 1000 : null,
    };
  });
}
