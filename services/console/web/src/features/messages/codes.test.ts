import { expect, test } from "vitest";
import { meaningOf } from "./codes";

test("an enhanced code is explained, with what follows from its class", () => {
  expect(meaningOf("550 5.1.1 <x@example.test>: no such user")).toBe(
    "The mailbox does not exist. The server refuses it for good: it is not tried again.",
  );
  expect(meaningOf("452-4.2.2 over quota")).toBe(
    "The mailbox is full. The server may take it later: it is tried again.",
  );
  expect(meaningOf("5.7.26")).toMatch(/authenticated/);
});

test("an unknown detail falls back to its subject, a plain reply to its class", () => {
  expect(meaningOf("550 5.7.509 blocked")).toMatch(/^The server refuses it by a rule/);
  expect(meaningOf("421 try later")).toBe("The server may take it later: it is tried again.");
  expect(meaningOf("250 2.0.0 queued as 5.1.1")).toBe("The server took it.");
});

test("what is no reply is not explained", () => {
  expect(meaningOf("")).toBeUndefined();
  expect(meaningOf("connection refused by 10.5.1.1")).toBeUndefined();
  expect(meaningOf("version 4.2.2.1 of 5.1")).toBeUndefined();
});
