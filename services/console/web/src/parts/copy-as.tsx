import type { Call } from "../api/call";
import { commandOf } from "../api/commands";
import { Copy } from "./copy";
import { curlOf } from "./curl";
import { Menu } from "./menu";

/** "Copy as": the address of this view, and the command line and curl that send the same requests.
 * `calls` is asked when the menu opens. `action`: whose menu it is, where it stands beside a
 * button. */
export function CopyAs({ calls, action }: { calls: () => readonly Call[]; action?: string }) {
  const forms = () => <Forms calls={calls()} />;
  if (action === undefined) return <Menu label="Copy as…">{forms}</Menu>;
  return (
    <Menu label="⋯" name={`Copy “${action}” as…`} className="more">
      {forms}
    </Menu>
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
