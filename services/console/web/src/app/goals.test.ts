import { expect, test } from "vitest";
import { goalsFor } from "./goals";
import { PAGES } from "./navigation";

const all = () => true;
const kinds = (text: string) => goalsFor(text, PAGES, all).map((goal) => goal.kind);

test("a pasted id leads to the message", () => {
  expect(kinds("01a22887-062c-7d98-94b6-44d0898ecc87")[0]).toBe("message");
});

test("an address leads to the account, a domain to the domain", () => {
  expect(kinds("alice@example.test")).toEqual(["account", "find messages"]);
  expect(kinds("example.test")).toEqual(["domain", "find messages"]);
});

test("a Message-ID is searched for", () => {
  expect(kinds("<20260101.1@example.test>")).toEqual(["find messages"]);
});

test("what the caller may not do is no goal", () => {
  expect(goalsFor("example.test", PAGES, () => false)).toEqual([]);
});

test("pages are found by a part of their name, and all of them by nothing", () => {
  expect(goalsFor("OMAI", PAGES, all).map((goal) => goal.title)).toContain("Domains");
  expect(goalsFor("", PAGES, all)).toHaveLength(PAGES.length);
});
