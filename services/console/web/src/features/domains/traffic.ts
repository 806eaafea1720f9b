/** What the statistics have of each domain. */

/** Of so many domains at most the API has series in one answer: those with the most messages. */
export const MOST_DOMAINS = 100;

interface Series {
  domain: string | null;
  outcome: string;
  reason: string | null;
  total: number;
}

export interface Traffic {
  /** Messages delivered to mailboxes of the domain. */
  delivered: number;
  /** Messages that its accounts and keys handed in. */
  submitted: number;
}

/** Return what finds the traffic of a domain, by its name; null: it is not known, for others have
 * more. */
export function trafficOf(series: readonly Series[]): (domain: string) => Traffic | null {
  const known = new Map<string, Traffic>();
  for (const { domain, outcome, reason, total } of series) {
    if (domain === null || reason !== null) continue;
    const traffic = known.get(domain) ?? { delivered: 0, submitted: 0 };
    if (outcome === "delivered") traffic.delivered += total;
    if (outcome === "accepted") traffic.submitted += total;
    known.set(domain, traffic);
  }
  const none = known.size < MOST_DOMAINS ? { delivered: 0, submitted: 0 } : null;
  return (domain) => known.get(domain) ?? none;
}
