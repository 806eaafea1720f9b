import { listFilters } from "../../parts/list-filters";

export const FILTERS = listFilters({
  texts: ["q", "domain", "tenant"],
  labels: { q: "Part of an address", domain: "Domain of the recipient" },
  states: ["all", "queued", "sending", "deferred", "held", "delivered", "bounced", "cancelled"],
  stateless: "waiting",
  orders: ["created", "-created", "due", "-due"],
});

type Filters = ReturnType<typeof FILTERS.read>;

/** Return the parameters of the list: without a state, of what waits. */
export function asked({ state, ...others }: Filters) {
  if (state === "all") return others;
  return { ...others, state: state ?? ("waiting" as const) };
}

/** Return what selects for an action all that the filters match; null where the API cannot, since
 * parts of addresses select nothing. */
export function selected({ q, sort: _, state, ...others }: Filters) {
  if (q !== undefined) return null;
  return state === "all"
    ? { ...others, all: true }
    : { ...others, state: state ?? ("waiting" as const) };
}
