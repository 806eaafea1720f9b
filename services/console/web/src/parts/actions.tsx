import { useState } from "react";
import type { Call } from "../api/call";
import { type Action, useActions } from "../api/queries";
import { Confirm } from "./confirm";
import { CopyAs } from "./copy-as";
import { Dialog } from "./dialog";
import { Failure } from "./notices";

/** Opens the form for a new object. */
export function NewButton({ label, open }: { label: string; open: () => void }) {
  return (
    <button type="button" className="primary" onClick={open}>
      {label}
    </button>
  );
}

/** A button that changes something at once, with "copy as" beside it; what goes wrong is shown in a
 * dialog. */
export function ActionButton<T>(properties: {
  label: string;
  call: () => Call<T>;
  changes: readonly string[];
  said: (output: T) => string;
  undo?: () => Call;
  done?: () => void;
  name?: string;
  disabled?: boolean;
}) {
  const { call, said, undo, ...rest } = properties;
  return (
    <ActionsButton
      {...rest}
      calls={() => [call()]}
      said={([output]: readonly T[]) => said(output as T)}
      {...(undo === undefined ? {} : { undo: () => [undo()] })}
    />
  );
}

/** The same for requests that are sent one after the other. */
export function ActionsButton<T>(properties: {
  label: string;
  calls: () => readonly Call<T>[];
  changes: readonly string[];
  said: (outputs: readonly T[]) => string;
  undo?: () => readonly Call[];
  done?: () => void;
  name?: string;
  disabled?: boolean;
}) {
  const { label, calls, changes, said, undo, done, name = label, disabled = false } = properties;
  const action = useActions<void, T>(calls, {
    changes,
    said,
    ...(undo === undefined ? {} : { undo }),
    done: () => done?.(),
  });
  return <AtOnce label={label} name={name} disabled={disabled} action={action} />;
}

/** The button of an action that needs no input. */
export function AtOnce<Output>(properties: {
  label: string;
  name: string;
  disabled: boolean;
  action: Action<void, Output>;
}) {
  const { label, name, disabled, action } = properties;
  return (
    <span className="split">
      <button
        type="button"
        aria-label={name === label ? undefined : name}
        disabled={disabled || action.isPending}
        onClick={() => action.mutate()}
      >
        {label}
      </button>
      <CopyAs calls={() => action.describe()} action={name} />
      {action.error && (
        <Dialog title={label} close={() => action.reset()}>
          <Failure problem={action.error} />
        </Dialog>
      )}
    </span>
  );
}

/** A button that takes something away after a question. `typed`: the name that must be typed
 * first, where mail is deleted. */
export function Removal(properties: {
  title: string;
  text: string;
  call: () => Call | readonly Call[];
  changes: readonly string[];
  said: string | ((outputs: readonly unknown[]) => string);
  typed?: string;
  label?: string;
  /** What a screen reader reads in place of the label, where there is a button in each row. */
  name?: string;
  disabled?: boolean;
  undo?: () => Call;
  done?: () => void;
}) {
  const { title, text, call, changes, said, typed, label = "Delete…", name, done } = properties;
  const { undo } = properties;
  const [isAsked, setIsAsked] = useState(false);
  const action = useActions<void, unknown>(() => listOf(call()), {
    changes,
    said: (outputs) => (typeof said === "string" ? said : said(outputs)),
    ...(undo === undefined ? {} : { undo: () => [undo()] }),
    done: () => {
      setIsAsked(false);
      done?.();
    },
  });
  return (
    <>
      <button
        type="button"
        aria-label={name}
        disabled={properties.disabled}
        onClick={() => setIsAsked(true)}
      >
        {label}
      </button>
      {isAsked && (
        <Confirm
          title={title}
          text={text}
          label={title}
          {...(typed === undefined ? {} : { typed })}
          action={action}
          input={undefined}
          close={() => {
            action.reset();
            setIsAsked(false);
          }}
        />
      )}
    </>
  );
}

function listOf<T>(calls: Call<T> | readonly Call<T>[]): readonly Call<T>[] {
  return Array.isArray(calls) ? (calls as readonly Call<T>[]) : [calls as Call<T>];
}
