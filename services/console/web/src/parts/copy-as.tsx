import { useId, useState } from "react";
import type { Call } from "../api/call";
import { commandOf } from "../api/commands";
import { Copy } from "./copy";
import { curlOf } from "./curl";

/** "Copy as": the address of this view, and the command line and curl that send the same requests.
 * `calls` is asked when the menu opens. `action`: whose menu it is, where it stands beside a
 * button. */
export function CopyAs(properties: { calls: () => readonly Call[]; action?: string }) {
  const { calls, action } = properties;
  const id = useId();
  const [shown, setShown] = useState<readonly Call[] | null>(null);
  const isAside = action !== undefined;
  return (
    <>
      <button
        type="button"
        className={isAside ? "more" : "quiet"}
        popoverTarget={id}
        aria-label={isAside ? `Copy “${action}” as…` : undefined}
      >
        {isAside ? "⋯" : "Copy as…"}
      </button>
      <div
        id={id}
        popover="auto"
        className="menu"
        onToggle={(event) => setShown(event.newState === "open" ? calls() : null)}
      >
        {shown !== null && <Forms calls={shown} />}
      </div>
    </>
  );
}

function Forms({ calls }: { calls: readonly Call[] }) {
  const lines = (form: (call: Call) => string) => calls.map(form).join("\n");
  return (
    <>
      <Copy text={location.href} what="link to this view" label="Link to this view" />
      {calls.length === 0 ? (
        <p className="weak">Nothing would be sent.</p>
      ) : (
        <>
          <Copy text={lines(commandOf)} what="posthorn command" label="posthorn command" />
          <Copy
            text={lines((call) => curlOf(call, location.origin))}
            what="curl command"
            label="curl command"
          />
        </>
      )}
    </>
  );
}
