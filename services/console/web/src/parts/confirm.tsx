import { type FormEvent, useState } from "react";
import type { Problem } from "../api/problem";
import { Dialog } from "./dialog";
import { Field } from "./form";
import { Failure } from "./notices";

/** Asks before something is done. `typed`: a name that must be typed, where mail is deleted. */
export function Confirm(properties: {
  title: string;
  text: string;
  action: string;
  typed?: string;
  problem?: Problem | null;
  isRunning: boolean;
  confirm: () => void;
  close: () => void;
}) {
  const { title, text, action, typed, problem = null, isRunning, confirm, close } = properties;
  const [name, setName] = useState("");
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (typed === undefined || name === typed) confirm();
  };
  return (
    <Dialog title={title} close={close}>
      <form onSubmit={submit}>
        <p>{text}</p>
        <Failure problem={problem} />
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
            disabled={isRunning || (typed !== undefined && name !== typed)}
          >
            {action}
          </button>
          <button type="button" onClick={close}>
            Cancel
          </button>
        </div>
      </form>
    </Dialog>
  );
}
