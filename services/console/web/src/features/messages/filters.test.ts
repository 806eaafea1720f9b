import { expect, test } from "vitest";
import { asked, filtersIn, isId } from "./filters";

test("what stands in the address is taken if it is a filter", () => {
  expect(filtersIn({ q: "alice@example.test", outcome: "refused", days: 7 })).toEqual({
    q: "alice@example.test",
    outcome: "refused",
    days: "7",
  });
  expect(filtersIn({ q: ["x"], outcome: "<script>", days: 5 })).toEqual({});
  expect(filtersIn({ direction: "outbound", outcome: "expired" })).toEqual({
    direction: "outbound",
    outcome: "expired",
  });
  expect(filtersIn({ q: 42 })).toEqual({ q: "42" });
});

test("a period is a time after which messages came, in whole minutes", () => {
  const now = Date.parse("2026-11-29T12:34:56Z");
  expect(asked({ q: "invoice", days: "7" }, now)).toEqual({
    q: "invoice",
    after: "2026-11-22T12:34:00.000Z",
  });
  expect(asked({ outcome: "bounced" }, now)).toEqual({ outcome: "bounced" });
});

test("ids", () => {
  expect(isId(" 01a22887-062c-7d98-94b6-44d0898ecc87 ")).toBe(true);
  expect(isId("01a22887")).toBe(false);
});
