/** Statistics of the API as filled hours: an hour without messages is a zero. */

export interface Figure {
  at: string;
  outcome: string;
  messages: number;
}

export type Series = readonly { at: number; counts: Readonly<Record<string, number>> }[];

const SHOWN = ["accepted", "delivered", "relayed", "deferred", "bounced", "refused"] as const;

/** Return 24 hours beginning with `since`, each with its counts over all domains. */
export function hours(figures: readonly Figure[], since: Date): Series {
  const series = Array.from({ length: 24 }, (_, hour) => ({
    at: since.getTime() + hour * 3600_000,
    counts: {} as Record<string, number>,
  }));
  for (const figure of figures) {
    const hour = series[Math.floor((Date.parse(figure.at) - since.getTime()) / 3600_000)];
    if (hour) hour.counts[figure.outcome] = (hour.counts[figure.outcome] ?? 0) + figure.messages;
  }
  return series;
}

/** Return the sum of each outcome that is always shown, in their order. */
export function sumsOf(series: Series): { outcome: string; messages: number }[] {
  return SHOWN.map((outcome) => ({
    outcome,
    messages: series.reduce((sum, hour) => sum + (hour.counts[outcome] ?? 0), 0),
  }));
}
