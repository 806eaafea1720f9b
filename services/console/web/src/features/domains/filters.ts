import { listFilters } from "../../parts/list-filters";

export const FILTERS = listFilters({
  texts: ["q", "tenant"],
  labels: { q: "Part of the name" },
  states: ["verified", "unverified"],
  orders: ["name", "-name", "created", "-created"],
});
