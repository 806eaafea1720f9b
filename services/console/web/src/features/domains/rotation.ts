/** The dates of a rotation of DKIM keys. */

export interface RotationDates {
  /** When the new keys begin to sign; seconds since the epoch. */
  signs: number;
  /** When the records of the old keys may go. */
  gone: number;
}

/** Return the dates; null if a number of days is none. `now` in milliseconds since the epoch. */
export function plannedDates(
  now: number,
  delayDays: number,
  overlapDays: number,
): RotationDates | null {
  if (!(delayDays >= 0 && overlapDays >= 0 && delayDays + overlapDays <= 732)) return null;
  const signs = now / 1000 + delayDays * 86_400;
  return { signs, gone: signs + overlapDays * 86_400 };
}
