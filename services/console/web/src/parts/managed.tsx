import type { Schemas } from "../api/client";
import type { EditedField } from "./edits";
import { Notice } from "./notices";
import { State } from "./state";

export type Mark = Schemas["ManagedByView"] | null | undefined;

/** Beside the name of what a tool keeps as its configuration says. */
export function Managed({ mark }: { mark: Mark }) {
  return mark ? <State kind="busy">{`managed by ${mark.manager}`}</State> : null;
}

/** Above a form: which of its fields the next apply sets back. `all`: whether any change is. */
export function ManagedFields(properties: {
  mark: Mark;
  fields?: readonly EditedField[];
  all?: boolean;
}) {
  const { mark, fields = [], all = false } = properties;
  if (!mark) return null;
  const kept = fields.filter(({ name }) => mark.fields.includes(name));
  if (!all && kept.length === 0) return null;
  return (
    <Notice kind="warn" title={`Managed by ${mark.manager}`}>
      <p>
        {all
          ? "Its next apply undoes a change made here."
          : `Its next apply sets back what is changed here of: ${kept.map(({ label }) => label).join(", ")}.`}{" "}
        Change its configuration to keep it.
      </p>
    </Notice>
  );
}

/** What a question before a deletion adds; nothing for what nobody manages. */
export function restored(mark: Mark, lost = ""): string {
  return mark ? ` It is managed by ${mark.manager}, whose next apply creates it again${lost}.` : "";
}

/** What is said of a change of one field; nothing for a field that nobody manages. */
export function setBack(mark: Mark, field: string): string {
  return mark?.fields.includes(field) ? `; the next apply of ${mark.manager} undoes it` : "";
}
