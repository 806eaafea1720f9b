import { type ReactNode, useEffect, useId, useRef } from "react";

/** A modal dialog. `keeps`: it does not close by Esc or by a click beside it, since it shows
 * something that is shown once. */
export function Dialog(properties: {
  title: string;
  close: () => void;
  children: ReactNode;
  className?: string;
  keeps?: boolean;
}) {
  const { title, close, children, className, keeps = false } = properties;
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const shown = dialog.current;
    shown?.showModal();
    shown?.querySelector<HTMLElement>("input, select, textarea")?.focus();
    return () => shown?.close();
  }, []);
  return (
    <dialog
      ref={dialog}
      className={className}
      aria-labelledby={id}
      // biome-ignore lint/suspicious/noExplicitAny: React's types do not know the attribute yet
      {...({ closedby: keeps ? "none" : "any" } as any)}
      onCancel={(event) => {
        event.preventDefault();
        if (!keeps) close();
      }}
      onClose={close}
    >
      <header>
        <h2 id={id}>{title}</h2>
        <button type="button" className="quiet" aria-label="Close" onClick={close}>
          ✕
        </button>
      </header>
      {children}
    </dialog>
  );
}
