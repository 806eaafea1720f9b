import { expect, test } from "vitest";
import { choiceIn, creationIn, textsIn } from "./search";

test("texts of an address: empty ones are none, numbers are texts", () => {
  const search = { domain: " example.test ", actor: 7, object: " ", other: "x", action: ["a"] };
  expect(textsIn(search, ["domain", "actor", "object", "action"])).toEqual({
    domain: "example.test",
    actor: "7",
  });
});

test("a choice is one of its options or none", () => {
  expect(choiceIn({ state: "failed" }, "state", ["waiting", "failed"])).toEqual({
    state: "failed",
  });
  expect(choiceIn({ state: "x" }, "state", ["waiting", "failed"])).toEqual({});
  expect(creationIn({ create: true })).toEqual({ create: true });
  expect(creationIn({ create: "yes" })).toEqual({});
});
