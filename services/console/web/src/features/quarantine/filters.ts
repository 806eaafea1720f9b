/** The filters of the quarantine, as they stand in the address. */
import { choiceIn, type Search, textsIn } from "../../parts/search";

export const REASONS = ["virus", "dmarc", "score", "blocked"] as const;
export type Reason = (typeof REASONS)[number];

export const ORDERS = ["created", "-created", "score", "-score"] as const;

export interface QuarantineFilters {
  q?: string;
  tenant?: string;
  account?: string;
  domain?: string;
  message?: string;
  reason?: Reason;
  sort?: (typeof ORDERS)[number];
}

export function quarantineFiltersIn(search: Search): QuarantineFilters {
  return {
    ...textsIn(search, ["q", "account", "domain", "message", "tenant"]),
    ...choiceIn(search, "reason", REASONS),
    ...choiceIn(search, "sort", ORDERS),
  };
}
