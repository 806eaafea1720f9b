import { listFilters } from "../../parts/list-filters";

export const FILTERS = listFilters({
  texts: ["q", "domain", "tenant"],
  labels: { q: "Part of an address" },
  orders: ["address", "-address", "created", "-created"],
});
