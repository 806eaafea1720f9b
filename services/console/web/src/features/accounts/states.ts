import type { Schemas } from "../../api/client";
import type { EditedField } from "../../parts/edits";
import type { Kind } from "../../parts/state";

export type Account = Schemas["AccountView"];

export const STATE_MARKS: Readonly<Record<Account["state"], Kind>> = {
  active: "good",
  suspended: "bad",
  "receive-only": "warn",
};

/** What a form changes of an account. */
export const LIMITS: readonly EditedField[] = [
  {
    name: "state",
    label: "State",
    kind: "choice",
    options: [
      ["active", "active: receives and sends"],
      ["receive-only", "receive-only: receives, and does not send"],
      ["suspended", "suspended: receives nothing, and cannot sign in"],
    ],
  },
  { name: "quota_bytes", label: "Quota", kind: "size", hint: "Such as 5 GiB; empty: unlimited." },
  {
    name: "max_messages_per_hour",
    label: "Messages an hour",
    kind: "number",
    hint: "That it may send; empty: as its domain says.",
  },
  { name: "max_recipients_per_hour", label: "Recipients an hour", kind: "number" },
  {
    name: "allowed_networks",
    label: "Networks that it may send from",
    kind: "lines",
    hint: "CIDR, one a line; empty: as its domain says.",
  },
  { name: "save_sent", label: "Put a copy of what it sends in Sent", kind: "tick" },
];
