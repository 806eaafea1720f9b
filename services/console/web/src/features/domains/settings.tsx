import { Link } from "@tanstack/react-router";
import { api, only, type Schemas, type Tagged } from "../../api/client";
import { useCan } from "../../api/me";
import { Edit } from "../../parts/edit";
import type { EditedField } from "../../parts/edits";
import { count, size } from "../../parts/moments";
import { Facts, Section } from "../../parts/page";
import { State } from "../../parts/state";
import { Time } from "../../parts/time";
import { accountsOf } from "./accounts";

type Domain = Schemas["DomainView"];

const FIELDS: readonly EditedField[] = [
  {
    name: "catch_all",
    label: "Catch-all",
    kind: "text",
    hint: "The address that gets mail for addresses that do not exist; empty: it is refused.",
  },
  {
    name: "plus_addressing",
    label: "Mail for name+anything goes to name",
    kind: "tick",
  },
  { name: "max_accounts", label: "Accounts at most", kind: "number", hint: "Empty: unlimited." },
  {
    name: "quota_bytes",
    label: "Quota",
    kind: "size",
    hint: "What its accounts may be promised together, such as 100 GiB; empty: unlimited.",
  },
  {
    name: "max_messages_per_hour",
    label: "Messages an hour",
    kind: "number",
    hint: "That each account may send; empty: unlimited.",
  },
  {
    name: "max_recipients_per_hour",
    label: "Recipients an hour",
    kind: "number",
    hint: "That each account may send to; empty: unlimited.",
  },
  {
    name: "allowed_networks",
    label: "Networks that accounts may send from",
    kind: "lines",
    hint: "CIDR, one a line; empty: any.",
  },
  {
    name: "retention_days",
    label: "Days after which mail is deleted",
    kind: "number",
    hint: "Empty: it is kept for ever.",
  },
  {
    name: "undelete_days",
    label: "Days in which deleted mail can be restored",
    kind: "number",
    hint: "0: it cannot be restored.",
    empty: "left out",
  },
  {
    name: "account_forwards",
    label: "Addresses elsewhere that each account may forward its mail to",
    kind: "number",
    hint: "0: none. Lowered to 0, it ends the forwards that are set.",
    empty: "left out",
  },
];

/** What a domain is set to; those who may, change it. */
export function Settings(properties: { read: Tagged<Domain>; ask: () => Promise<Tagged<Domain>> }) {
  const { read, ask } = properties;
  const can = useCan();
  const domain = read.value;
  return (
    <>
      <Summary domain={domain} />
      {can("changeDomain") && (
        <Section title="Change settings">
          <Edit
            fields={FIELDS}
            managed={domain.managed_by}
            read={read}
            ask={ask}
            save={(change, tag) =>
              api.PATCH("/v1/domains/{name}", {
                params: { path: { name: domain.name }, header: only(tag) },
                body: change,
              })
            }
            changes={["domains"]}
            said={`Changed ${domain.display_name}`}
          />
        </Section>
      )}
    </>
  );
}

function limit(most: number | null): string {
  return most === null ? "unlimited" : count(most);
}

/** The sum of the quotas against its limit; an API of the release before tells no sum. */
function promised({ promised_bytes: sum, quota_bytes: most }: Domain): string {
  const text = sum == null ? "not known" : size(sum);
  return most === null ? text : `${text} of ${size(most)}`;
}

function Summary({ domain }: { domain: Domain }) {
  const none = <span className="weak">none</span>;
  return (
    <Facts
      facts={[
        [
          "Ownership",
          domain.verified_at ? (
            <>
              <State kind="good">verified</State> <Time at={domain.verified_at} />
            </>
          ) : (
            <State kind="warn">not verified</State>
          ),
        ],
        ["Tenant", domain.tenant],
        ["Catch-all", domain.catch_all ?? none],
        ["Plus addressing", domain.plus_addressing ? "on" : "off"],
        ["Postmaster", domain.postmaster ?? none],
        [
          "Accounts",
          <Link key="accounts" to="/accounts" search={{ domain: domain.name }}>
            {accountsOf(domain)}
          </Link>,
        ],
        ["Promised to accounts", promised(domain)],
        ["Messages an hour", limit(domain.max_messages_per_hour)],
        ["Recipients an hour", limit(domain.max_recipients_per_hour)],
        ["Mail is kept", domain.retention_days ? `${domain.retention_days} days` : "for ever"],
        [
          "Deleted mail can be restored",
          domain.undelete_days === 0 ? "no" : `for ${count(domain.undelete_days)} days`,
        ],
        ["Forwards of an account", domain.account_forwards || none],
        ["Created", <Time key="created" at={domain.created_at} />],
      ]}
    />
  );
}
