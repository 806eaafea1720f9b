import { expect, test } from "vitest";
import { isFound, nameOf, shown } from "./figures";

const one = (outcome: string, reason: string | null = null, domain: string | null = null) => ({
  outcome,
  reason,
  domain,
  total: 1,
});

test("the shown outcomes in their order, over all domains and reasons", () => {
  const series = [
    one("junk"),
    one("refused"),
    one("refused", "dmarc"),
    one("accepted"),
    one("accepted", null, "example.test"),
    one("bounced"),
    one("deferred"),
    one("relayed"),
    one("delivered"),
  ];
  expect(shown(series).map((each) => each.outcome)).toEqual([
    "accepted",
    "delivered",
    "relayed",
    "deferred",
    "bounced",
    "refused",
  ]);
});

test("an outcome that the API does not have is left out", () => {
  expect(shown([one("refused")])).toHaveLength(1);
});

test("what the statistics count as refused is not all that was refused", () => {
  expect(["accepted", "refused", "bounced"].map(nameOf)).toEqual([
    "Submitted",
    "Refused by content",
    "Bounced",
  ]);
});

test("a figure leads to the search where that finds the same messages", () => {
  expect(["accepted", "delivered", "bounced", "refused"].map(isFound)).toEqual([
    false,
    true,
    true,
    false,
  ]);
});
