import { expect, test } from "vitest";
import { fold, joined, lineOf, type TraceEvent } from "./lanes";

const at = (second: number) => new Date(Date.UTC(2026, 10, 29, 18, 0, second)).toISOString();

const EVENTS: readonly TraceEvent[] = [
  {
    at: at(9),
    kind: "delivered",
    detail: { recipient: "x@b.test", host: "mx.b.test", reply: "250 ok" },
  },
  { at: at(0), kind: "accepted", detail: { recipients: 2, size: 900, account: "alice@a.test" } },
  { at: at(1), kind: "queued", detail: { recipients: ["x@b.test", "y@c.test"] } },
  {
    at: at(2),
    kind: "deferred",
    detail: { recipient: "x@b.test", host: "mx.b.test", reply: "451 4.7.1 later" },
  },
  {
    at: at(3),
    kind: "bounced",
    detail: { recipient: "y@c.test", host: "mx.c.test", reply: "550 5.1.1 no" },
  },
];

test("a lane for each recipient, in the order of time, with how it stands", () => {
  const { lanes } = fold(EVENTS);
  expect(lanes.map((lane) => [lane.recipient, lane.state, lane.mark])).toEqual([
    ["x@b.test", "Delivered to mx.b.test", "good"],
    ["y@c.test", "Bounced", "bad"],
  ]);
  expect(lanes[0]?.steps.map((step) => step.kind)).toEqual([
    "accepted",
    "queued",
    "deferred",
    "delivered",
  ]);
});

test("a lane in one line: its steps, how long they took and the last reply", () => {
  const again = { ...EVENTS[3], at: at(5) } as TraceEvent;
  const [lane] = fold([...EVENTS, again]).lanes;
  expect(lane && lineOf(lane)).toEqual({
    words: ["Accepted", "Queued for other servers", "Deferred ×2", "Delivered"],
    seconds: 9,
    reply: "250 ok",
  });
});

test("pauses are those of the lane", () => {
  const { lanes } = fold(EVENTS);
  expect(lanes[0]?.steps.map((step) => step.after)).toEqual([null, 1, 1, 7]);
  expect(lanes[1]?.steps.map((step) => step.after)).toEqual([null, 1, 2]);
});

test("a count of recipients makes no lane, and unknown kinds are shown as they are", () => {
  const { lanes, steps } = fold([
    { at: at(0), kind: "accepted", detail: { recipients: 3 } },
    { at: at(1), kind: "teleported", detail: {} },
  ]);
  expect(lanes).toEqual([]);
  expect(steps.map((step) => step.words)).toEqual(["Accepted", "teleported"]);
});

test("reading comes after delivery and is how it stands", () => {
  const { lanes } = fold([
    { at: at(0), kind: "delivered", detail: { recipients: ["a@a.test"] } },
    { at: at(5), kind: "classified", detail: { account: "a@a.test", classification: "spam" } },
  ]);
  expect(lanes[0]?.state).toBe("Delivered to the mailbox");
});

test("what was heard is shown once, when the trace has it too", () => {
  const trace = [{ ...EVENTS[0], at: "2026-11-29T18:00:09.123456Z" } as TraceEvent];
  const heard = [
    { ...EVENTS[0], at: "2026-11-29T18:00:09.123Z" } as TraceEvent,
    { ...EVENTS[4], at: "2026-11-29T18:00:10.001Z" } as TraceEvent,
  ];
  expect(joined(trace, heard).map((event) => event.kind)).toEqual(["delivered", "bounced"]);
});

test("a deferral tells the next attempt, and what is held waits for somebody", () => {
  const deferred: TraceEvent = {
    at: at(4),
    kind: "deferred",
    detail: { recipient: "x@b.test", next_attempt_at: 1_796_017_255.1 },
  };
  const [waiting] = fold([deferred]).lanes;
  expect([waiting?.waits, waiting?.isHeld, waiting?.steps[0]?.again]).toEqual([
    true,
    false,
    1_796_017_255.1,
  ]);
  const held: TraceEvent = { at: at(5), kind: "held", detail: { recipient: "x@b.test" } };
  const [stopped] = fold([deferred, held]).lanes;
  expect([stopped?.waits, stopped?.isHeld, stopped?.steps[1]?.again]).toEqual([true, true, null]);
});
