import { expect, test } from "vitest";
import { sideBySide } from "./versions";

test("each part has a number of processes for each version that runs", () => {
  const processes = [
    { part: "relay", version: "1.1.0" },
    { part: "api", version: "1.0.0" },
    { part: "relay", version: "1.0.0" },
    { part: "relay", version: "1.0.0" },
  ];
  expect(sideBySide(processes)).toEqual({
    versions: ["1.0.0", "1.1.0"],
    parts: [
      { part: "api", numbers: [1, 0] },
      { part: "relay", numbers: [2, 1] },
    ],
  });
  expect(sideBySide([])).toEqual({ versions: [], parts: [] });
});
