/** Times and durations in words. */

const STEPS: readonly (readonly [Intl.RelativeTimeFormatUnit, number])[] = [
  ["second", 60],
  ["minute", 60],
  ["hour", 24],
  ["day", 30],
  ["month", 12],
  ["year", Number.POSITIVE_INFINITY],
];
const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "always", style: "short" });

/** Return how long ago or ahead a moment is, such as "3 min. ago". Milliseconds since the epoch. */
export function relative(at: number, now: number): string {
  let value = (at - now) / 1000;
  /* two clocks differ a little: what has just happened is not ahead */
  if (value > -1 && value < 2) return "now";
  for (const [unit, size] of STEPS) {
    if (Math.abs(value) < size) return RELATIVE.format(Math.trunc(value), unit);
    value /= size;
  }
  return "";
}

/** Return a moment in UTC, such as "2026-11-29 18:03:12 UTC". */
export function inUtc(at: number): string {
  return `${new Date(at).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

/** Return the beginning of the first of the last 24 hours, of which the present one is the last. */
export function firstHour(now: number): string {
  return new Date(Math.floor(now / 3600_000) * 3600_000 - 23 * 3600_000).toISOString();
}

/** Return a duration, such as "340 ms", "4.2 s", "3 min 5 s", "2 h 10 min", "3 d 4 h". */
export function duration(seconds: number): string {
  if (seconds < 0) return `−${duration(-seconds)}`;
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${Number(seconds.toFixed(1))} s`;
  const parts: readonly (readonly [number, string])[] = [
    [86400, "d"],
    [3600, "h"],
    [60, "min"],
    [1, "s"],
  ];
  const whole = Math.round(seconds);
  const at = parts.findIndex(([size]) => whole >= size);
  const [size, unit] = parts[at] as [number, string];
  const next = parts[at + 1];
  const rest = next ? Math.floor((whole % size) / next[0]) : 0;
  return `${Math.floor(whole / size)} ${unit}${next && rest ? ` ${rest} ${next[1]}` : ""}`;
}

const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** Return a size, such as "4.0 KiB". */
export function size(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return unit === 0 ? `${value} bytes` : `${value.toFixed(1)} ${UNITS[unit]}`;
}

/** Return a number with its thousands set apart. */
export function count(value: number): string {
  return value.toLocaleString("en");
}
