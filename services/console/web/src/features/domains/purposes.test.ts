import { expect, test } from "vitest";
import { titleOf } from "./purposes";

test("a record has a title that says what it is for", () => {
  expect(titleOf({ purpose: "mx", name: "example.test" })).toBe(
    "Where mail for the domain goes (MX)",
  );
  expect(titleOf({ purpose: "service", name: "_imaps._tcp.example.test" })).toBe(
    "Where mail clients find IMAPS",
  );
});

test("a purpose that the console does not know yet is shown as it is", () => {
  expect(titleOf({ purpose: "bimi", name: "example.test" })).toBe("bimi");
});
