import { listFilters } from "../../parts/list-filters";

export const FILTERS = listFilters({
  texts: ["q", "tenant"],
  labels: { q: "Part of the URL" },
  states: ["active", "paused", "failing"],
  orders: ["created", "-created", "url", "-url"],
});
