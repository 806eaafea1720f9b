/** The outcomes that Home shows, of the series of all that the API has. */

const SHOWN = ["accepted", "delivered", "relayed", "deferred", "bounced", "refused"];

interface Series {
  domain: string | null;
  outcome: string;
  reason: string | null;
}

/** Return the series of these outcomes over all domains and reasons, in their order. */
export function shown<S extends Series>(series: readonly S[]): S[] {
  return SHOWN.flatMap((outcome) =>
    series.filter(
      (each) => each.outcome === outcome && each.reason === null && each.domain === null,
    ),
  );
}

const NAMES: Readonly<Record<string, string>> = {
  accepted: "submitted",
  deferred: "attempts deferred",
  refused: "refused by content",
};
/** Outcomes by which the search finds what the statistics count. */
const FOUND = ["delivered", "relayed", "bounced"] as const;

/** Return whether the search finds the messages that a figure counts: what is accepted has another
 * outcome by now, an attempt that was deferred may have been followed by others, and what is refused
 * for its content is not all that was refused. */
export function isFound(outcome: string): outcome is (typeof FOUND)[number] {
  return FOUND.some((each) => each === outcome);
}

/** Return what an outcome is called here. What the statistics count as accepted is mail that
 * accounts and keys hand in, and no mail from other servers; as deferred, each attempt; as refused,
 * what was refused for what it is, and not before, as for an unknown recipient. */
export function nameOf(outcome: string): string {
  const name = NAMES[outcome] ?? outcome;
  return name.charAt(0).toUpperCase() + name.slice(1);
}
