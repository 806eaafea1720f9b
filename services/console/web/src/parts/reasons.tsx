import { type Kind, State } from "./state";

/** Why a message was withheld: the API's word, a mark, what it is called and what it means. */
const REASONS: Readonly<Record<string, readonly [Kind, string, string]>> = {
  score: [
    "warn",
    "spam points",
    "the filters gave it at least the points that the policy withholds",
  ],
  virus: ["bad", "virus", "a scanner found a virus in it"],
  dmarc: ["bad", "DMARC", "its author's domain asks to withhold what is not proven to be from it"],
  blocked: ["idle", "blocked sender", "the policy blocks its sender"],
};

export function nameOfReason(reason: string): string {
  return REASONS[reason]?.[1] ?? reason;
}

/** The reason in words. `isExplained`: with what it means. */
export function Reason({ reason, isExplained = false }: { reason: string; isExplained?: boolean }) {
  const [kind, name, meaning] = REASONS[reason] ?? ["warn", reason, ""];
  return (
    <>
      <State kind={kind}>{name}</State>
      {isExplained && meaning && `: ${meaning}`}
    </>
  );
}

/** What the points of a message are. */
export function PointsNote() {
  return (
    <p className="weak">
      Points say how much the filters found of what spam has: 0 is nothing, below 0 speaks for the
      message. The filter policy says from how many on it goes to Junk, here, or is refused.
    </p>
  );
}
