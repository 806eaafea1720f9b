import type { Schemas } from "../../api/client";
import type { EditedField } from "../../parts/edits";
import { count } from "../../parts/moments";

export type Tenant = Schemas["TenantView"];

/** What a form sets of a new tenant. */
export const LIMITS: readonly EditedField[] = [
  { name: "name", label: "Name", kind: "text", empty: "left out" },
  { name: "max_domains", label: "Domains at most", kind: "number", hint: "Empty: unlimited." },
  { name: "max_accounts", label: "Accounts at most", kind: "number", hint: "Empty: unlimited." },
  {
    name: "quota_bytes",
    label: "Quota",
    kind: "size",
    hint: "What its accounts may be promised together, such as 500 GiB; empty: unlimited.",
  },
  { name: "max_messages_per_hour", label: "Messages an hour", kind: "number" },
  { name: "max_recipients_per_hour", label: "Recipients an hour", kind: "number" },
  {
    name: "min_password_length",
    label: "Characters of a password at least",
    kind: "number",
    empty: "left out",
  },
  {
    name: "verify_domains",
    label: "A domain must be verified before it is used",
    kind: "tick",
  },
];

export const STATE: EditedField = {
  name: "state",
  label: "State",
  kind: "choice",
  options: [
    ["active", "active"],
    ["suspended", "suspended: its accounts receive and send nothing"],
  ],
};

/** A use against its limit, as a number and a meter. */
export function Against(properties: {
  used: number;
  most: number | null;
  label: string;
  shown?: (value: number) => string;
}) {
  const { used, most, label, shown = count } = properties;
  if (most === null) return shown(used);
  return (
    <>
      {shown(used)} of {shown(most)}{" "}
      <meter
        className="meter"
        aria-label={label}
        value={used}
        max={Math.max(1, most)}
        high={most * 0.9}
      />
    </>
  );
}
