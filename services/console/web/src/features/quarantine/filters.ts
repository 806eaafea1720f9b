/** The filters of the quarantine, as they stand in the address. */
import { choiceIn, type Search, textsIn } from "../../parts/search";

export const REASONS = ["virus", "dmarc", "score", "blocked"] as const;
export type Reason = (typeof REASONS)[number];

export interface QuarantineFilters {
  account?: string;
  domain?: string;
  message?: string;
  reason?: Reason;
}

export function quarantineFiltersIn(search: Search): QuarantineFilters {
  return {
    ...textsIn(search, ["account", "domain", "message"]),
    ...choiceIn(search, "reason", REASONS),
  };
}
