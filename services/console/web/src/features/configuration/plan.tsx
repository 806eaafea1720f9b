import type { ReactNode } from "react";
import type { Schemas } from "../../api/client";
import { Notice } from "../../parts/notices";
import { State } from "../../parts/state";
import { type DiffLine, linesOf, numberOf } from "./diff";

const MARKS = { planned: "busy", done: "good", failed: "bad" } as const;
const KINDS = { "+": "added", "-": "removed", "~": "" } as const;

/** A plan as a diff, or what came of it when it was applied. */
export function Plan(properties: {
  outcome: Schemas["ConfigOutcome"];
  now: Schemas["ConfigDocument"];
  children: ReactNode;
}) {
  const { outcome, now, children } = properties;
  const { applied, changes, failed, unlisted, tenant, manager } = outcome;
  const title = applied
    ? `${numberOf(changes.length - failed)} of ${tenant} were made, ${failed} failed`
    : changes.length === 0
      ? `${tenant} already is as the document says`
      : `The plan for ${tenant}: ${numberOf(changes.length)}`;
  return (
    <section className="plan" aria-label="Plan">
      <Notice
        kind={failed > 0 ? "bad" : changes.length === 0 || applied ? "good" : "warn"}
        title={title}
      />
      {changes.map((change) => (
        <div className="change" key={`${change.kind} ${change.object} ${change.action}`}>
          <State kind={MARKS[change.outcome]}>{`${change.action}: ${change.outcome}`}</State>
          {change.detail !== null && <span> {change.detail}</span>}
          {change.managed_by && (
            <>
              {" "}
              <State kind="warn">
                {manager
                  ? `was managed by ${change.managed_by}`
                  : `managed by ${change.managed_by}, whose next apply undoes it`}
              </State>
            </>
          )}
          <Lines lines={linesOf(change, now)} />
        </div>
      ))}
      {unlisted.length > 0 && (
        <p className="weak">
          There, and not in the document:{" "}
          {unlisted.map((each) => `${each.kind} ${each.object}`).join(", ")}
        </p>
      )}
      <Named title={`Newly managed by ${manager}`} objects={outcome.marked ?? []} />
      <Named title={`No longer managed by ${manager}`} objects={outcome.released ?? []} />
      <div className="actions">{children}</div>
    </section>
  );
}

function Named(properties: { title: string; objects: readonly Schemas["ConfigObject"][] }) {
  const { title, objects } = properties;
  if (objects.length === 0) return null;
  return (
    <p>
      {title}: {objects.map((each) => `${each.kind} ${each.object}`).join(", ")}
    </p>
  );
}

function Lines({ lines }: { lines: readonly DiffLine[] }) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls takes the arrow keys
    <pre className="json diff" tabIndex={0}>
      {lines.map((line, place) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: lines may be alike
        <span key={place} className={KINDS[line.sign]}>
          {line.sign} {line.text}
          {"\n"}
        </span>
      ))}
    </pre>
  );
}
