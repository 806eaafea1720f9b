import { expect, test } from "vitest";
import { listFilters, nextOrder } from "./list-filters";

const FILTERS = listFilters({
  texts: ["q", "tenant"],
  states: ["active", "suspended"],
  orders: ["name", "-name"],
});

test("the filters of an address; what is none of them is left out", () => {
  const search = { q: " alice ", tenant: "", state: "suspended", sort: "-name", other: "x" };
  expect(FILTERS.read(search)).toEqual({ q: "alice", state: "suspended", sort: "-name" });
  expect(FILTERS.read({ state: "gone", sort: "size" })).toEqual({});
});

test("a caller of one tenant is not asked for it", () => {
  expect(FILTERS.bar(false).map(({ name }) => name)).toEqual(["q", "tenant", "state"]);
  expect(FILTERS.bar(true).map(({ name }) => name)).toEqual(["q", "state"]);
});

test("a column is sorted up, down, and no longer", () => {
  expect(nextOrder(undefined, "name")).toBe("name");
  expect(nextOrder("used", "name")).toBe("name");
  expect(nextOrder("name", "name")).toBe("-name");
  expect(nextOrder("-name", "name")).toBeUndefined();
});
