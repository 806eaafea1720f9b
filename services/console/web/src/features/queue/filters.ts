/** The filters of the queue, as they stand in the address. */

export const STATES = ["queued", "sending", "deferred", "held"] as const;
export type QueueState = (typeof STATES)[number];

export interface QueueFilters {
  domain?: string;
  state?: QueueState;
}

export function queueFiltersIn(search: Readonly<Record<string, unknown>>): QueueFilters {
  const found: QueueFilters = {};
  if (typeof search.domain === "string" && search.domain !== "") found.domain = search.domain;
  const state = STATES.find((each) => each === search.state);
  if (state !== undefined) found.state = state;
  return found;
}
