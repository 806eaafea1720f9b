import { expect, test } from "vitest";
import { hours, sumsOf } from "./figures";

const since = new Date("2026-11-29T00:00:00Z");

test("hours without messages are zeros, domains are summed, what is outside is left out", () => {
  const series = hours(
    [
      { at: "2026-11-29T00:00:00Z", outcome: "accepted", messages: 2 },
      { at: "2026-11-29T00:00:00Z", outcome: "accepted", messages: 3 },
      { at: "2026-11-29T23:00:00Z", outcome: "refused", messages: 7 },
      { at: "2026-11-30T00:00:00Z", outcome: "accepted", messages: 100 },
      { at: "2026-11-28T23:00:00Z", outcome: "accepted", messages: 100 },
    ],
    since,
  );
  expect(series).toHaveLength(24);
  expect(series[0]?.counts).toEqual({ accepted: 5 });
  expect(series[1]?.counts).toEqual({});
  const sums = Object.fromEntries(sumsOf(series).map((sum) => [sum.outcome, sum.messages]));
  expect(sums).toEqual({
    accepted: 5,
    delivered: 0,
    relayed: 0,
    deferred: 0,
    bounced: 0,
    refused: 7,
  });
});
