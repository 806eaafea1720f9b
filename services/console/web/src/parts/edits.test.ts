import { expect, test } from "vitest";
import {
  bytesIn,
  changesOf,
  differences,
  type EditedField,
  exactSize,
  formerOf,
  shownOf,
  valuesOf,
} from "./edits";

const FIELDS: readonly EditedField[] = [
  { name: "catch_all", label: "Catch-all", kind: "text" },
  { name: "quota_bytes", label: "Quota", kind: "size" },
  { name: "max_accounts", label: "Accounts", kind: "number" },
  { name: "networks", label: "Networks", kind: "lines" },
  { name: "targets", label: "Targets", kind: "lines", empty: "list" },
  { name: "plus_addressing", label: "Plus", kind: "tick" },
  { name: "days", label: "Days", kind: "number", empty: "left out" },
];

function form(values: Record<string, string>): FormData {
  const made = new FormData();
  for (const [name, value] of Object.entries(values)) made.set(name, value);
  return made;
}

test("sizes are read and shown exactly", () => {
  expect(["5", "1.5 KiB", "2GiB", "3 mb", "1 T", "7 bytes"].map(bytesIn)).toEqual([
    5,
    1536,
    2 * 1024 ** 3,
    3 * 1024 ** 2,
    1024 ** 4,
    7,
  ]);
  expect(bytesIn("much")).toBeNaN();
  expect([0, 1023, 1024, 1536, 5 * 1024 ** 3].map(exactSize)).toEqual([
    "0",
    "1023",
    "1 KiB",
    "1536",
    "5 GiB",
  ]);
});

test("an empty text is null, an empty list, or left out", () => {
  expect(
    valuesOf(FIELDS, form({ targets: "a@b.test, c@d.test\n", plus_addressing: "on" })),
  ).toEqual({
    catch_all: null,
    quota_bytes: null,
    max_accounts: null,
    networks: null,
    targets: ["a@b.test", "c@d.test"],
    plus_addressing: true,
  });
});

test("a day is its beginning in UTC", () => {
  const field: EditedField = { name: "expires_at", label: "Expires", kind: "day" };
  expect(valuesOf([field], form({ expires_at: "2036-12-31" }))).toEqual({
    expires_at: "2036-12-31T00:00:00Z",
  });
  expect(shownOf(field, "2036-12-31T00:00:00Z")).toBe("2036-12-31");
});

test("a switch is on, off, or left to others", () => {
  const field: EditedField = { name: "greylist", label: "Greylist", kind: "switch" };
  expect(["on", "off", ""].map((greylist) => valuesOf([field], form({ greylist })))).toEqual([
    { greylist: true },
    { greylist: false },
    { greylist: null },
  ]);
  expect([true, false, null].map((value) => shownOf(field, value))).toEqual(["on", "off", ""]);
});

test("only what differs is sent", () => {
  const before = { catch_all: null, quota_bytes: 1024, targets: [], plus_addressing: false };
  const sent = form({ quota_bytes: "1 KiB", max_accounts: "7", networks: "192.0.2.0/24" });
  expect(changesOf(FIELDS, before, sent)).toEqual({
    max_accounts: 7,
    networks: ["192.0.2.0/24"],
  });
});

test("what both changed is shown beside what was there", () => {
  const before = { catch_all: null, quota_bytes: 1024, max_accounts: 3 };
  const theirs = { catch_all: "a@b.test", quota_bytes: 1024, max_accounts: 3 };
  expect(differences(FIELDS, before, { max_accounts: 5 }, theirs)).toEqual([
    { label: "Catch-all", before: "none", mine: "none", theirs: "a@b.test" },
    { label: "Accounts", before: "3", mine: "5", theirs: "3" },
  ]);
});

test("a change is taken back by the values before it", () => {
  expect(formerOf({ a: 1, b: ["x"], d: true }, { a: 2, b: null, c: "new" })).toEqual({
    a: 1,
    b: ["x"],
    c: null,
  });
});
