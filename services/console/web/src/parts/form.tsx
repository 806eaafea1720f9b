import {
  type ComponentProps,
  type FormEvent,
  type ReactNode,
  useEffect,
  useId,
  useRef,
  useState,
} from "react";
import type { Problem } from "../api/problem";
import type { Action } from "../api/queries";
import { CopyAs } from "./copy-as";
import { Failure } from "./notices";

/** A form: the first field that the API refuses has the focus; what is wrong with no field stands
 * above. `read` makes the action's input from the values and a key that makes a creation safe to
 * repeat; null sends nothing. */
export function Form<Input>(properties: {
  action: Action<Input>;
  read: (values: FormData, key: string) => Input | null;
  /** The words of its button. */
  label: string;
  /** What stands in place of the action's own problem. */
  problem?: Problem | null;
  cancel?: () => void;
  children: ReactNode;
}) {
  const { action, read, label, problem = action.error, cancel, children } = properties;
  const form = useRef<HTMLFormElement>(null);
  const [key, setKey] = useState(() => crypto.randomUUID());
  const [isExplained, setIsExplained] = useState(false);
  useEffect(() => {
    if (problem === null) return;
    const inputs = form.current?.elements;
    const fields = problem.fields.map((fault) => fault.field);
    setIsExplained(fields.length > 0 && fields.every((field) => inputs?.namedItem(field)));
    form.current?.querySelector<HTMLElement>("[aria-invalid=true]")?.focus();
    /* what was refused will be sent in another form, which is another request */
    if (!problem.passes) setKey(crypto.randomUUID());
  }, [problem]);
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const input = read(new FormData(event.currentTarget), key);
    if (input !== null) action.mutate(input);
  };
  const describe = () => {
    const input = form.current && read(new FormData(form.current), key);
    return input === null ? [] : action.describe(input);
  };
  return (
    <form ref={form} onSubmit={submit}>
      {!isExplained && <Failure problem={problem} />}
      {children}
      <div className="actions">
        <button type="submit" className="primary" disabled={action.isPending}>
          {label}
        </button>
        {cancel && (
          <button type="button" onClick={cancel}>
            Cancel
          </button>
        )}
        <CopyAs calls={describe} />
      </div>
    </form>
  );
}

interface Described {
  name: string;
  label: string;
  hint?: ReactNode;
  problem?: Problem | null;
}

/** A labelled input with its hint and what the API says against it. */
export function Field({ label, hint, problem, ...input }: Described & ComponentProps<"input">) {
  return (
    <Labelled name={input.name} label={label} hint={hint} problem={problem ?? null}>
      {(described) => <input {...input} {...described} />}
    </Labelled>
  );
}

export function TextArea({
  label,
  hint,
  problem,
  ...area
}: Described & ComponentProps<"textarea">) {
  return (
    <Labelled name={area.name} label={label} hint={hint} problem={problem ?? null}>
      {(described) => <textarea rows={4} {...area} {...described} />}
    </Labelled>
  );
}

export function Choice({
  label,
  hint,
  problem,
  options,
  ...select
}: Described & { options: readonly (readonly [string, string])[] } & ComponentProps<"select">) {
  return (
    <Labelled name={select.name} label={label} hint={hint} problem={problem ?? null}>
      {(described) => (
        <select {...select} {...described}>
          {options.map(([value, text]) => (
            <option key={value} value={value}>
              {text}
            </option>
          ))}
        </select>
      )}
    </Labelled>
  );
}

export function Tick({ label, hint, ...input }: Described & ComponentProps<"input">) {
  const id = useId();
  return (
    <div className="field tick">
      <label>
        <input type="checkbox" aria-describedby={hint ? id : undefined} {...input} /> {label}
      </label>
      {hint && (
        <p className="hint" id={id}>
          {hint}
        </p>
      )}
    </div>
  );
}

function Labelled(properties: {
  name: string;
  label: string;
  hint: ReactNode;
  problem: Problem | null;
  children: (described: {
    id: string;
    "aria-describedby": string | undefined;
    "aria-invalid": boolean | undefined;
  }) => ReactNode;
}) {
  const { name, label, hint, problem, children } = properties;
  const id = useId();
  const fault = problem?.about(name);
  const notes = [hint ? `${id}-hint` : "", fault ? `${id}-fault` : ""].filter(Boolean).join(" ");
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      {children({
        id,
        "aria-describedby": notes || undefined,
        "aria-invalid": fault ? true : undefined,
      })}
      {fault && (
        <p className="fault" id={`${id}-fault`}>
          {fault}
        </p>
      )}
      {hint && (
        <p className="hint" id={`${id}-hint`}>
          {hint}
        </p>
      )}
    </div>
  );
}
