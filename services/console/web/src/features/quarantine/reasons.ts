import type { Schemas } from "../../api/client";

export type Copy = Schemas["QuarantinedView"];

/** Return in a sentence what a release did. */
export function saidOf(outcome: Schemas["ReleasesView"]): string {
  const done = outcome.items.filter((item) => item.released).length;
  const left = outcome.items.filter((item) => !item.released);
  const parts = [`Released: ${done}`];
  if (left.length > 0) parts.push(`left: ${left.length} (${left[0]?.detail ?? "no reason given"})`);
  if (outcome.more) parts.push("there are more: release again");
  return parts.join(", ");
}
