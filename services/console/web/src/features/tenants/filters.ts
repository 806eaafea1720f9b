import { listFilters } from "../../parts/list-filters";

export const FILTERS = listFilters({
  texts: ["q"],
  labels: { q: "Part of the name" },
  states: ["active", "suspended"],
  orders: ["name", "-name", "created", "-created"],
});
