import type { Schemas } from "../../api/client";
import type { EditedField } from "../../parts/edits";
import type { Kind } from "../../parts/state";

export type Webhook = Schemas["WebhookView"];

export const WEBHOOK_MARKS: Readonly<Record<Webhook["state"], Kind>> = {
  active: "good",
  failing: "bad",
  paused: "idle",
};

/** What a form sets of a webhook. */
export const FIELDS: readonly EditedField[] = [
  { name: "url", label: "URL", kind: "text", hint: "Gets each event as a POST with JSON." },
  {
    name: "events",
    label: "Events",
    kind: "lines",
    empty: "list",
    hint: "One a line: accepted, scanned, refused, filed, quarantined, restored, classified, queued, deferred, delivered, bounced, notice, held, released, cancelled, retried, read, complained, listed, dns-changed; or * for all.",
  },
  { name: "domain", label: "Domain", kind: "text", hint: "Empty: all domains of the tenant." },
];
