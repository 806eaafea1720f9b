import { listFilters } from "../../parts/list-filters";

export const FILTERS = listFilters({
  texts: ["q"],
  labels: { q: "Part of the domain" },
  orders: ["domain", "-domain"],
});
