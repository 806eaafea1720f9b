import { expect, test } from "vitest";
import { filtersIn, isId } from "./filters";

test("what stands in the address is taken if it is a filter", () => {
  expect(filtersIn({ q: "alice@example.test", outcome: "refused", days: 7 })).toEqual({
    q: "alice@example.test",
    outcome: "refused",
    days: "7",
  });
  expect(filtersIn({ q: ["x"], outcome: "<script>", days: 5 })).toEqual({});
  expect(filtersIn({ q: 42 })).toEqual({ q: "42" });
});

test("ids", () => {
  expect(isId(" 01a22887-062c-7d98-94b6-44d0898ecc87 ")).toBe(true);
  expect(isId("01a22887")).toBe(false);
});
