import { listFilters } from "../../parts/list-filters";

export const FILTERS = listFilters({
  texts: ["q", "domain", "tenant"],
  labels: { q: "Part of an address", domain: "Domain of the recipient" },
  states: ["queued", "sending", "deferred", "held", "delivered", "bounced", "cancelled"],
  orders: ["created", "-created", "due", "-due"],
});
