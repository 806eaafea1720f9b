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
  refused: "refused by content",
};

/** Return what an outcome is called here. What the statistics count as accepted is mail that
 * accounts and keys hand in, and no mail from other servers; what they count as refused was refused
 * for what it is, and not before, as for an unknown recipient. */
export function nameOf(outcome: string): string {
  return NAMES[outcome] ?? outcome;
}
