/** The filters of the search, as they stand in the address. */

export const OUTCOMES = ["refused", "quarantined", "junk"] as const;
export type Outcome = (typeof OUTCOMES)[number];

export const PERIODS = ["1", "7", "30"] as const;
export type Days = (typeof PERIODS)[number];

export interface Filters {
  /** An id, or an address of either side. */
  q?: string;
  outcome?: Outcome;
  days?: Days;
}

export function filtersIn(search: Readonly<Record<string, unknown>>): Filters {
  const found: Filters = {};
  if (typeof search.q === "string" || typeof search.q === "number") found.q = String(search.q);
  const outcome = OUTCOMES.find((each) => each === search.outcome);
  if (outcome !== undefined) found.outcome = outcome;
  const days = PERIODS.find((each) => each === String(search.days));
  if (days !== undefined) found.days = days;
  return found;
}

const ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** Whether a text is the id of a message. */
export function isId(text: string): boolean {
  return ID.test(text.trim());
}
