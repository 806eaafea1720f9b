import { listFilters } from "../../parts/list-filters";

export const FILTERS = listFilters({
  texts: ["q", "actor", "action", "object", "tenant"],
  labels: {
    q: "Search",
    actor: "Name or id of a key",
    action: "Action, such as account",
    object: "Object",
  },
  orders: ["at", "-at"],
});
