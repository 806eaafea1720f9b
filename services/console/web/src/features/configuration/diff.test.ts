import { expect, test } from "vitest";
import { documentIn, linesOf } from "./diff";

const NOW = {
  domains: [{ name: "a.test", catch_all: null }],
  accounts: [{ address: "b@a.test", quota_bytes: 5 }],
};
const planned = { outcome: "planned", detail: null } as const;

test("what changes stands beside what is there", () => {
  const change = {
    kind: "account",
    object: "b@a.test",
    action: "change",
    fields: { quota_bytes: 7, state: "suspended" },
    ...planned,
  } as const;
  expect(linesOf(change, NOW)).toEqual([
    { sign: "~", text: "account b@a.test" },
    { sign: "-", text: "quota_bytes: 5" },
    { sign: "+", text: "quota_bytes: 7" },
    { sign: "+", text: "state: suspended" },
  ]);
});

test("what is created and what goes", () => {
  const fields = { catch_all: null, allowed_networks: ["192.0.2.0/24"] };
  const made = { kind: "domain", object: "c.test", action: "create", fields, ...planned } as const;
  expect(linesOf(made, NOW)).toEqual([
    { sign: "+", text: "domain c.test" },
    { sign: "+", text: "catch_all: none" },
    { sign: "+", text: 'allowed_networks: ["192.0.2.0/24"]' },
  ]);
  const gone = {
    kind: "domain",
    object: "a.test",
    action: "delete",
    fields: {},
    ...planned,
  } as const;
  expect(linesOf(gone, NOW)).toEqual([{ sign: "-", text: "domain a.test" }]);
});

test("a pasted text is an object in JSON", () => {
  expect(documentIn('{"domains": []}')).toEqual({ domains: [] });
  expect(() => documentIn("domains: []")).toThrow("This is not JSON");
  expect(() => documentIn("[]")).toThrow("A configuration is an object");
});
