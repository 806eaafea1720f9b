import { expect, test } from "vitest";
import { duration, inUtc, relative, size } from "./moments";

test("durations", () => {
  expect([0, 0.0004, 0.34, 1, 4.23, 59.9, 60, 185, 3600, 7800, 273600, -90].map(duration)).toEqual([
    "0 ms",
    "0 ms",
    "340 ms",
    "1 s",
    "4.2 s",
    "59.9 s",
    "1 min",
    "3 min 5 s",
    "1 h",
    "2 h 10 min",
    "3 d 4 h",
    "−1 min 30 s",
  ]);
});

test("how long ago", () => {
  const now = Date.UTC(2026, 0, 31, 12);
  const ago = (seconds: number) => relative(now - seconds * 1000, now);
  expect([0, 0.9, -1.5].map(ago)).toEqual(["now", "now", "now"]);
  expect(ago(5)).toBe("5 sec. ago");
  expect(ago(200)).toBe("3 min. ago");
  expect(ago(7200)).toBe("2 hr. ago");
  expect(ago(86400 * 3)).toBe("3 days ago");
  expect(ago(-90)).toBe("in 1 min.");
});

test("UTC to the second", () => {
  expect(inUtc(Date.UTC(2026, 10, 29, 18, 3, 12, 900))).toBe("2026-11-29 18:03:12 UTC");
});

test("sizes", () => {
  expect([0, 1023, 1024, 1536, 5 * 1024 ** 3].map(size)).toEqual([
    "0 bytes",
    "1023 bytes",
    "1.0 KiB",
    "1.5 KiB",
    "5.0 GiB",
  ]);
});
