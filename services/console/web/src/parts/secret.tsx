import { useBlocker } from "@tanstack/react-router";
import { useState } from "react";
import { Copy } from "./copy";
import { Dialog } from "./dialog";

/** Shows a key or password that is shown once; it closes only after a tick that it is stored. */
export function Secret(properties: {
  title: string;
  what: string;
  secret: string;
  close: () => void;
}) {
  const { title, what, secret, close } = properties;
  const [isKept, setIsKept] = useState(false);
  /* going back or closing the tab would lose it */
  useBlocker({ shouldBlockFn: () => !isKept, enableBeforeUnload: () => !isKept });
  return (
    <Dialog title={title} close={() => isKept && close()} keeps>
      <p>This {what} is shown once. Copy it now: nobody can show it again.</p>
      <p className="secret">
        <code>{secret}</code> <Copy text={secret} what={what} />
      </p>
      <label className="switch">
        <input
          type="checkbox"
          checked={isKept}
          onChange={(event) => setIsKept(event.target.checked)}
        />
        I have stored it
      </label>
      <div className="actions">
        <button type="button" className="primary" disabled={!isKept} onClick={close}>
          Done
        </button>
      </div>
    </Dialog>
  );
}
