import type { Schemas } from "../../api/client";
import type { EditedField } from "../../parts/edits";
import { type Kind, State } from "../../parts/state";

export const ADDRESS: EditedField = { name: "address", label: "Address", kind: "text" };
export const TARGETS: EditedField = {
  name: "targets",
  label: "Targets",
  kind: "lines",
  empty: "list",
  hint: "Accounts or aliases here, or addresses elsewhere; one a line. An address elsewhere gets mail when its owner has agreed.",
};

const MARKS: Readonly<Record<string, Kind>> = {
  active: "good",
  unconfirmed: "warn",
  suppressed: "bad",
};

/** Where an alias leads to, with the state of each target; one that leads to itself is marked. */
export function Targets({ alias }: { alias: Schemas["AliasView"] }) {
  const states = new Map(alias.target_states.map((target) => [target.address, target.state]));
  return (
    <ul className="bare">
      {alias.targets.map((target) => {
        const state = states.get(target) ?? "active";
        return (
          <li key={target}>
            {target} {state !== "active" && <State kind={MARKS[state] ?? "warn"}>{state}</State>}
            {target === alias.address && <State kind="warn">leads to itself</State>}
          </li>
        );
      })}
    </ul>
  );
}
