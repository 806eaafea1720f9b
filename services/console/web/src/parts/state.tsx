/** A state is a word and a shape, never colour alone. */
export type Kind = "good" | "warn" | "bad" | "idle" | "busy";

const SHAPES: Record<Kind, string> = {
  good: "M2 8.5l4 4 8-9",
  warn: "M8 2l6.5 12h-13z",
  bad: "M3 3l10 10M13 3L3 13",
  idle: "M3 8h10",
  busy: "M8 2a6 6 0 1 1-6 6",
};

export function Mark({ kind }: { kind: Kind }) {
  return (
    <svg className={`mark ${kind}`} viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      <path d={SHAPES[kind]} />
    </svg>
  );
}

export function State({ kind, children }: { kind: Kind; children: string }) {
  return (
    <span className={`state ${kind}`}>
      <Mark kind={kind} /> {children}
    </span>
  );
}
