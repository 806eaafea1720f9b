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

test("domains and accounts are found by a part of their names, each once", () => {
  const found = {
    domains: [{ name: "example.org", display_name: "example.org" }],
    accounts: [{ address: "exa@example.org" }],
  };
  const hrefs = goalsFor("exa", [], () => true, found).map(({ href }) => href);
  expect(hrefs).toEqual([
    "/console/domains/example.org",
    "/console/accounts/exa%40example.org",
    "/console/find?q=exa",
  ]);
  const pasted = goalsFor("example.org", [], () => true, found).map(({ href }) => href);
  expect(pasted.filter((href) => href === "/console/domains/example.org")).toHaveLength(1);
});
