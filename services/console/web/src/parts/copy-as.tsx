import { useId } from "react";
import { Copy } from "./copy";
import { curlOf, type HttpRequest } from "./curl";

/** "Copy as": the address of this view, the command line and curl that do the same. */
export function CopyAs({ command, request }: { command: string; request: HttpRequest }) {
  const id = useId();
  return (
    <>
      <button type="button" className="quiet" popoverTarget={id}>
        Copy as…
      </button>
      <div id={id} popover="auto" className="menu">
        <Copy text={location.href} what="link to this view" label="Link to this view" />
        <Copy text={command} what="posthorn command" label="posthorn command" />
        <Copy text={curlOf(request, location.origin)} what="curl command" label="curl command" />
      </div>
    </>
  );
}
