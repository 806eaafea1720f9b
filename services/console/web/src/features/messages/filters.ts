/** The filters of the search, as they stand in the address. */
import { choiceIn, textsIn } from "../../parts/search";

export const OUTCOMES = [
  "accepted",
  "queued",
  "deferred",
  "held",
  "delivered",
  "relayed",
  "junk",
  "quarantined",
  "refused",
  "bounced",
  "expired",
  "cancelled",
] as const;
export type Outcome = (typeof OUTCOMES)[number];

export const DIRECTIONS = ["inbound", "outbound"] as const;
export type Direction = (typeof DIRECTIONS)[number];

export const PERIODS = ["1", "7", "30"] as const;
export type Days = (typeof PERIODS)[number];

export interface Filters {
  /** An id, addresses, domains, a Message-ID or words of the subject. */
  q?: string;
  outcome?: Outcome;
  direction?: Direction;
  days?: Days;
}

export function filtersIn(search: Readonly<Record<string, unknown>>): Filters {
  return {
    ...textsIn(search, ["q"]),
    ...choiceIn(search, "outcome", OUTCOMES),
    ...choiceIn(search, "direction", DIRECTIONS),
    ...choiceIn({ days: String(search.days) }, "days", PERIODS),
  };
}

/** The filters as parameters of the search; `now` in milliseconds since the epoch. */
export function asked(filters: Filters, now: number): Record<string, string> {
  const { days, ...others } = filters;
  if (days === undefined) return others;
  const after = new Date(now - Number(days) * 86_400_000);
  after.setSeconds(0, 0);
  return { ...others, after: after.toISOString() };
}

const ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** Whether a text is the id of a message. */
export function isId(text: string): boolean {
  return ID.test(text.trim());
}
