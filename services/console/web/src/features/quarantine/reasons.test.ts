import { expect, test } from "vitest";
import { saidOf } from "./reasons";

const item = (released: boolean, detail: string | null = null) => ({
  id: "01a22887-062c-7d98-94b6-44d0898ecc87",
  recipient: "bob@example.test",
  released,
  detail,
});

test("what was released, what was left and why, and whether there is more", () => {
  expect(saidOf({ items: [item(true), item(true)], more: false })).toBe("Released: 2");
  expect(saidOf({ items: [item(true), item(false, "over quota")], more: true })).toBe(
    "Released: 1, left: 1 (over quota), there are more: release again",
  );
});
