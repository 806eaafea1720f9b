import type { ReactNode } from "react";
import type { Schemas } from "../../api/client";
import { State } from "../../parts/state";

type Domain = Schemas["DomainView"];

/** The three steps to a new domain, until all are done. */
export function Steps({ domain }: { domain: Domain }) {
  const isPublished = domain.dns_state === "right";
  const isVerified = domain.verified_at !== null;
  if (isPublished && isVerified) return null;
  return (
    <section aria-labelledby="steps">
      <h2 id="steps">Three steps to a new domain</h2>
      <ol className="checklist">
        <Step isDone>Create the domain</Step>
        <Step isDone={isPublished}>
          Publish the records below where the DNS of {domain.display_name} is kept, then “Check now”
        </Step>
        <Step isDone={isVerified}>
          “Verify ownership”: mail is accepted for {domain.display_name} from then on
        </Step>
      </ol>
    </section>
  );
}

function Step({ isDone = false, children }: { isDone?: boolean; children: ReactNode }) {
  return (
    <li>
      <State kind={isDone ? "good" : "idle"}>{isDone ? "Done" : "To do"}</State> {children}
    </li>
  );
}
