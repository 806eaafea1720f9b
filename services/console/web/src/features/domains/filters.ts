import { listFilters } from "../../parts/list-filters";
import { choiceIn, type Search } from "../../parts/search";

const DNS = ["right", "wrong", "unknown", "unchecked"] as const;
const NAMED = listFilters({
  texts: ["q", "tenant"],
  labels: { q: "Part of the name" },
  states: ["verified", "unverified"],
  orders: ["name", "-name", "created", "-created"],
});

export const FILTERS = {
  read: (search: Search) => ({ ...NAMED.read(search), ...choiceIn(search, "dns", DNS) }),
  bar: (isOfTenant: boolean) => [
    ...NAMED.bar(isOfTenant),
    { name: "dns", label: "DNS", options: DNS },
  ],
};
