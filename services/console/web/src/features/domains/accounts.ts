import type { Schemas } from "../../api/client";
import { count } from "../../parts/moments";

/** Return in words how many accounts a domain has, against its limit. An API of the release before
 * tells no number. */
export function accountsOf(domain: Schemas["DomainView"]): string {
  const { accounts, max_accounts: most } = domain;
  if (accounts === undefined) return most === null ? "not known" : `at most ${count(most)}`;
  return most === null ? count(accounts) : `${count(accounts)} of ${count(most)}`;
}
