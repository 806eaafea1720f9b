import { useState } from "react";
import { useAction } from "../api/queries";
import { Confirm } from "./confirm";
import { CopyAs } from "./copy-as";
import { Dialog } from "./dialog";
import { Failure } from "./notices";

/** What each list offers: "copy as", and a button for a new object to those who may create it. */
export function ListActions(properties: {
  command: string;
  path: string;
  create?: string | false;
  open?: () => void;
}) {
  const { command, path, create = false, open } = properties;
  return (
    <>
      <CopyAs command={command} request={{ method: "GET", path }} />
      {create !== false && (
        <button type="button" className="primary" onClick={open}>
          {create}
        </button>
      )}
    </>
  );
}

/** A button that changes something at once; what goes wrong is shown in a dialog. */
export function ActionButton<Output>(properties: {
  label: string;
  run: () => Promise<Output>;
  changes: readonly string[];
  said: (output: Output) => string;
  done?: (output: Output) => void;
  name?: string;
}) {
  const { label, run, changes, said, done, name } = properties;
  const action = useAction<void, Output>(run, {
    changes,
    said: (output) => said(output),
    done: (output) => done?.(output),
  });
  return (
    <>
      <button
        type="button"
        aria-label={name}
        disabled={action.isPending}
        onClick={() => action.mutate()}
      >
        {label}
      </button>
      {action.error && (
        <Dialog title={label} close={() => action.reset()}>
          <Failure problem={action.error} />
        </Dialog>
      )}
    </>
  );
}

/** A button that takes something away after a question. `typed`: the name that must be typed
 * first, where mail is deleted. */
export function Removal(properties: {
  title: string;
  text: string;
  run: () => Promise<unknown>;
  changes: readonly string[];
  said: string;
  typed?: string;
  label?: string;
  /** What a screen reader reads in place of the label, where there is a button in each row. */
  name?: string;
  done?: () => void;
}) {
  const { title, text, run, changes, said, typed, label = "Delete…", name, done } = properties;
  const [isAsked, setIsAsked] = useState(false);
  const action = useAction<void, unknown>(run, {
    changes,
    said: () => said,
    done: () => {
      setIsAsked(false);
      done?.();
    },
  });
  return (
    <>
      <button type="button" aria-label={name} onClick={() => setIsAsked(true)}>
        {label}
      </button>
      {isAsked && (
        <Confirm
          title={title}
          text={text}
          action={title}
          {...(typed === undefined ? {} : { typed })}
          problem={action.error}
          isRunning={action.isPending}
          confirm={() => action.mutate()}
          close={() => {
            action.reset();
            setIsAsked(false);
          }}
        />
      )}
    </>
  );
}
