import { useState } from "react";
import type { Call } from "../api/call";
import type { Tagged } from "../api/client";
import type { Problem } from "../api/problem";
import { useActions } from "../api/queries";
import { changesOf, differences, type EditedField, type Fields, formerOf, shownOf } from "./edits";
import { Choice, Field, Form, TextArea, Tick } from "./form";
import { ManagedFields, type Mark } from "./managed";
import { Notice } from "./notices";

const SWITCH = [
  ["", "as the level above says"],
  ["on", "on"],
  ["off", "off"],
] as const;

/** The inputs of fields, with the values of an object. */
export function Inputs(properties: {
  fields: readonly EditedField[];
  values: Fields;
  problem: Problem | null;
}) {
  const { fields, values, problem } = properties;
  return fields.map((field) => {
    const { name, label, hint } = field;
    const described = { name, label, hint, problem };
    const value = shownOf(field, values[name]);
    if (field.kind === "tick")
      return <Tick key={name} {...described} defaultChecked={values[name] === true} />;
    if (field.kind === "lines")
      return <TextArea key={name} {...described} rows={3} defaultValue={value} />;
    if (field.kind === "switch")
      return <Choice key={name} {...described} options={SWITCH} defaultValue={value} />;
    if (field.kind === "choice")
      return (
        <Choice key={name} {...described} options={field.options ?? []} defaultValue={value} />
      );
    return (
      <Field
        key={name}
        {...described}
        autoComplete="off"
        {...(field.kind === "day" ? { type: "date" } : {})}
        {...(field.kind === "number" ? { type: "number", min: 0 } : {})}
        {...(field.kind === "size"
          ? { pattern: "\\s*\\d+(\\.\\d+)?\\s*[kKmMgGtT]?(i?[bB])?\\s*" }
          : {})}
        defaultValue={value}
      />
    );
  });
}

/** A form that changes an object. The change is made only if nobody else has changed the object
 * since it was read; otherwise both versions are shown. */
export function Edit<T extends Fields>(properties: {
  fields: readonly EditedField[];
  read: Tagged<T>;
  ask: () => Promise<Tagged<T>>;
  save: (change: Record<string, unknown>, tag: string | null) => Call;
  changes: readonly string[];
  said: string;
  /** Who keeps the object as its configuration says. */
  managed?: Mark;
  done?: () => void;
}) {
  const { fields, read, ask, save, changes, said, managed, done } = properties;
  const [base, setBase] = useState(read);
  const [clash, setClash] = useState<{ mine: Fields; theirs: Tagged<T> } | null>(null);
  const [shown, setShown] = useState<Fields>(read.value);
  const [times, setTimes] = useState(0);
  const restart = (from: Tagged<T>, values: Fields) => {
    setBase(from);
    setShown(values);
    setClash(null);
    setTimes((before) => before + 1);
  };
  const again = () => void ask().then((fresh) => restart(fresh, fresh.value));
  const action = useActions(
    (change: Record<string, unknown>) =>
      Object.keys(change).length > 0 ? [save(change, base.tag)] : [],
    {
      changes,
      said: () => said,
      done: () => {
        done?.();
        again();
      },
      undo: (_, change) => (mayUndo(change) ? [save(formerOf(base.value, change), null)] : []),
      undone: again,
      failed: (problem, mine) => {
        if (problem.status === 412) void ask().then((theirs) => setClash({ mine, theirs }));
      },
    },
  );
  return (
    <>
      {clash && (
        <Clash
          fields={fields}
          before={base.value}
          mine={clash.mine}
          theirs={clash.theirs.value}
          keepMine={() => {
            restart(clash.theirs, { ...clash.theirs.value, ...clash.mine });
            action.reset();
          }}
          takeTheirs={() => {
            restart(clash.theirs, clash.theirs.value);
            action.reset();
          }}
        />
      )}
      <Form
        key={times}
        action={action}
        read={(form) => changesOf(fields, base.value, form)}
        label="Save"
        problem={clash ? null : action.error}
      >
        <ManagedFields mark={managed} fields={fields} />
        <Inputs fields={fields} values={shown} problem={action.error} />
      </Form>
    </>
  );
}

/** A new name is another address, at which nothing is taken back. */
function mayUndo(change: Fields): boolean {
  return Object.keys(change).length > 0 && !("name" in change);
}

function Clash(properties: {
  fields: readonly EditedField[];
  before: Fields;
  mine: Fields;
  theirs: Fields;
  keepMine: () => void;
  takeTheirs: () => void;
}) {
  const { fields, before, mine, theirs, keepMine, takeTheirs } = properties;
  return (
    <Notice kind="bad" title="Somebody else has changed this since you opened it">
      <table>
        <caption className="unseen">Both versions</caption>
        <thead>
          <tr>
            <th scope="col">Field</th>
            <th scope="col">When opened</th>
            <th scope="col">Yours</th>
            <th scope="col">Theirs</th>
          </tr>
        </thead>
        <tbody>
          {differences(fields, before, mine, theirs).map((each) => (
            <tr key={each.label}>
              <th scope="row">{each.label}</th>
              <td>{each.before}</td>
              <td>{each.mine}</td>
              <td>{each.theirs}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <div className="actions">
        <button type="button" onClick={keepMine}>
          Put my changes over theirs
        </button>
        <button type="button" onClick={takeTheirs}>
          Take theirs
        </button>
      </div>
    </Notice>
  );
}
