import { expect, test } from "vitest";
import { told } from "./told";

test("an action tells what was done, passed over and left", () => {
  expect(told("Held", [{ matched: 2, passed_over: 0, left: 0 }])).toBe("Held: 2");
  expect(
    told("Held", [
      { matched: 1000, passed_over: 1, left: 0 },
      { matched: 5, passed_over: 2, left: 4 },
    ]),
  ).toBe("Held: 1,005, passed over: 3, left: 4");
});
