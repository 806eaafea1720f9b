import { listFilters } from "../../parts/list-filters";

export const FILTERS = listFilters({
  texts: ["q", "domain", "tenant"],
  labels: { q: "Part of the address" },
  orders: ["address", "-address", "created", "-created"],
});
