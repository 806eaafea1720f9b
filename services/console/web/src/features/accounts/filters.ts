import { listFilters } from "../../parts/list-filters";

export const FILTERS = listFilters({
  texts: ["q", "domain", "tenant"],
  labels: { q: "Part of the address" },
  states: ["active", "suspended", "receive-only"],
  orders: ["address", "-address", "created", "-created", "used", "-used"],
});
