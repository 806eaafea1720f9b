import { type FormEvent, useState } from "react";
import type { Action } from "../api/queries";
import { CopyAs } from "./copy-as";
import { Dialog } from "./dialog";
import { Field } from "./form";
import { Failure } from "./notices";

/** Asks before something is done. `typed`: a name that must be typed, where mail is deleted. */
export function Confirm<Input>(properties: {
  title: string;
  text: string;
  /** The words of its button. */
  label: string;
  typed?: string;
  action: Action<Input>;
  input: Input;
  close: () => void;
}) {
  const { title, text, label, typed, action, input, close } = properties;
  const [name, setName] = useState("");
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (typed === undefined || name === typed) action.mutate(input);
  };
  return (
    <Dialog title={title} close={close}>
      <form onSubmit={submit}>
        <p>{text}</p>
        <Failure problem={action.error} />
        {typed !== undefined && (
          <Field
            name="typed"
            label={`Type ${typed} to confirm`}
            autoComplete="off"
            value={name}
            onChange={(event) => setName(event.target.value)}
          />
        )}
        <div className="actions">
          <button
            type="submit"
            className={typed === undefined ? "primary" : "danger"}
            disabled={action.isPending || (typed !== undefined && name !== typed)}
          >
            {label}
          </button>
          <button type="button" onClick={close}>
            Cancel
          </button>
          <CopyAs calls={() => action.describe(input)} />
        </div>
      </form>
    </Dialog>
  );
}
