import { expect, test } from "vitest";
import { MOST_DOMAINS, trafficOf } from "./traffic";

const one = (
  domain: string | null,
  outcome: string,
  total: number,
  reason: string | null = null,
) => ({
  domain,
  outcome,
  reason,
  total,
});

test("what was delivered to a domain and submitted from it", () => {
  const of = trafficOf([
    one("a.test", "delivered", 7),
    one("a.test", "accepted", 3),
    one("a.test", "refused", 50),
    one("a.test", "refused", 50, "dmarc"),
    one(null, "delivered", 99),
  ]);
  expect(of("a.test")).toEqual({ delivered: 7, submitted: 3 });
  expect(of("quiet.test")).toEqual({ delivered: 0, submitted: 0 });
});

test("of a domain that is not among those with the most messages nothing is known", () => {
  const many = Array.from({ length: MOST_DOMAINS }, (_, n) => one(`d${n}.test`, "delivered", 9));
  expect(trafficOf(many)("quiet.test")).toBeNull();
});
