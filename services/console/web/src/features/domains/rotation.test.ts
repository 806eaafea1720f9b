import { expect, test } from "vitest";
import { plannedDates } from "./rotation";

test("new keys sign after the delay, and old records go after the overlap", () => {
  expect(plannedDates(5000, 1, 7)).toEqual({ signs: 86_405, gone: 691_205 });
  expect(plannedDates(0, 0, 0)).toEqual({ signs: 0, gone: 0 });
});

test("no dates without days", () => {
  expect(plannedDates(0, Number.NaN, 7)).toBeNull();
  expect(plannedDates(0, -1, 7)).toBeNull();
  expect(plannedDates(0, 1e9, 7)).toBeNull();
});
