import { expect, test } from "vitest";
import { changedIn } from "./values";

test("what was set stands beside what was there before", () => {
  const line = {
    details: { state: "suspended", quota_bytes: null, targets: ["a@b.test"] },
    before: { state: "active", quota_bytes: 5 },
  };
  expect(changedIn(line)).toEqual([
    { field: "state", before: "active", after: "suspended" },
    { field: "quota_bytes", before: "5", after: "none" },
    { field: "targets", before: "", after: '["a@b.test"]' },
  ]);
});

test("a deletion has what was there; an API of the release before tells nothing of it", () => {
  expect(changedIn({ details: {}, before: { host: "mx.test" } })).toEqual([
    { field: "host", before: "mx.test", after: "" },
  ]);
  expect(changedIn({ details: { a: 1 } })).toEqual([{ field: "a", before: "", after: "1" }]);
});
