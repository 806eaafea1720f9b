import { listFilters } from "../../parts/list-filters";

export const FILTERS = listFilters({
  texts: ["q", "tenant"],
  labels: { q: "Part of the name" },
  states: ["active", "expired"],
  orders: ["created", "-created", "name", "-name", "used", "-used"],
});
