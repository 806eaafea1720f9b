import { expect, test } from "vitest";
import { viewsIn } from "./views";

test("stored views are read; what is none of ours is none", () => {
  const views = { bounces: { outcome: "bounced", days: "7" } };
  expect(viewsIn(JSON.stringify(views))).toEqual(views);
  expect(viewsIn(JSON.stringify({ odd: { outcome: 1, q: "x" }, worse: null }))).toEqual({
    odd: { q: "x" },
    worse: {},
  });
  for (const text of [null, "", "[", "[1]", "7", "null"]) expect(viewsIn(text)).toEqual({});
});
