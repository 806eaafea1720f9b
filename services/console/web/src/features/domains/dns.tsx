import { useState } from "react";
import { answer, api, type Schemas } from "../../api/client";
import { useCan } from "../../api/me";
import { useAction, useOne } from "../../api/queries";
import { Copy } from "../../parts/copy";
import { CopyAs } from "../../parts/copy-as";
import { Menu } from "../../parts/menu";
import { Failure, Loading, Notice } from "../../parts/notices";
import { type Kind, State } from "../../parts/state";
import { Time } from "../../parts/time";
import { dnsEndpoint, terraform } from "./dns-forms";
import { titleOf } from "./purposes";
import { quotedValues, zoneFile } from "./zone-file";

type Checked = Schemas["CheckedRecordView"];
type Domain = Schemas["DomainView"];
type Published = Schemas["DnsRecordView"];

/** What the last check came to, of the required records. */
const LAST = {
  right: { kind: "good", title: "All required records were right at the last check" },
  wrong: { kind: "warn", title: "Required records were not right at the last check" },
  unknown: { kind: "warn", title: "The last check could not look up all records" },
} as const;

/** What to publish, what is found, and what to change, per record. */
export function DnsRecords({ domain }: { domain: Domain }) {
  const { name } = domain;
  const can = useCan();
  const [isQuoted, setIsQuoted] = useState(false);
  const params = { params: { path: { name } } };
  const dns = useOne(["domains", name, "dns"], () =>
    answer(api.GET("/v1/domains/{name}/dns", params)),
  );
  const check = useAction((_: null) => api.GET("/v1/domains/{name}/dns/check", params), {
    changes: ["domains"],
    said: (found) => (found.right ? "All records are right" : "Some records are not right"),
  });
  if (dns.isPending) return <Loading />;
  if (dns.data === undefined) return <Failure problem={dns.error} />;
  const { records } = dns.data;
  const verdicts = new Map(check.data?.records.map((record) => [keyOf(record), record]));
  return (
    <section aria-labelledby="dns">
      <header className="page-head">
        <h2 id="dns">DNS records</h2>
        <div className="actions">
          <CopyAs
            calls={() => [
              api.GET("/v1/domains/{name}/dns", params),
              ...(can("checkDns") ? check.describe(null) : []),
            ]}
          />
          <Menu label="Copy all records…">{() => <Forms name={name} records={records} />}</Menu>
          {can("checkDns") && (
            <button
              type="button"
              className="primary"
              disabled={check.isPending}
              onClick={() => check.mutate(null)}
            >
              {check.isPending ? "Checking…" : "Check now"}
            </button>
          )}
        </div>
      </header>
      <Failure problem={check.error} />
      {check.data ? (
        <Notice
          kind={check.data.right ? "good" : "warn"}
          title={check.data.right ? "All records are right" : "Some records are not right"}
        >
          Checked <Time at={check.data.checked_at} />
        </Notice>
      ) : (
        domain.dns_state && (
          <Notice {...LAST[domain.dns_state]}>
            Checked <Time at={domain.dns_checked_at} />. Check now to see what is found, and what to
            change.
          </Notice>
        )
      )}
      {records.some((record) => record.strings?.some((strings) => strings.length > 1)) && (
        <label className="switch">
          <input
            type="checkbox"
            checked={isQuoted}
            onChange={(event) => setIsQuoted(event.target.checked)}
          />
          Long TXT values in quoted pieces, as some providers want them
        </label>
      )}
      <ul className="records">
        {records.map((record) => (
          <Record
            key={keyOf(record)}
            record={record}
            checked={verdicts.get(keyOf(record))}
            verdict={
              verdicts.get(keyOf(record))?.verdict ??
              domain.dns_verdicts.find(
                ({ purpose, name, type }) =>
                  purpose === record.purpose && name === record.name && type === record.type,
              )?.verdict
            }
            isQuoted={isQuoted}
          />
        ))}
      </ul>
      {dns.data.notes.length > 0 && (
        <>
          <h3>Further things to do</h3>
          <ul>
            {dns.data.notes.map((note) => (
              <li key={note}>{note}</li>
            ))}
          </ul>
        </>
      )}
    </section>
  );
}

/** The records in the forms that zones are kept in. */
function Forms({ name, records }: { name: string; records: readonly Published[] }) {
  return (
    <>
      <Copy text={zoneFile(records)} what="zone file" label="Zone file" />
      <Copy text={terraform(name, records)} what="Terraform" label="Terraform (hashicorp/dns)" />
      <Copy
        text={dnsEndpoint(name, records)}
        what="DNSEndpoint"
        label="DNSEndpoint (external-dns)"
      />
    </>
  );
}

function keyOf(record: { purpose: string; type: string; name: string; values: string[] }): string {
  return [record.purpose, record.type, record.name, ...record.values].join(" ");
}

/* without a recommended record mail arrives all the same */
function kindOf(verdict: string, need: string): Kind {
  if (verdict === "right") return "good";
  return need === "required" && verdict !== "unknown" ? "bad" : "warn";
}

function Record(properties: {
  record: Published;
  checked: Checked | undefined;
  verdict: string | undefined;
  isQuoted: boolean;
}) {
  const { record, checked, verdict, isQuoted } = properties;
  const values = isQuoted ? quotedValues(record) : record.values;
  return (
    <li className="record">
      <p className="record-head">
        <strong>{titleOf(record)}</strong> <span className="tag">{record.type}</span>{" "}
        <span className="weak">{record.need}</span>{" "}
        {verdict && <State kind={kindOf(verdict, record.need)}>{verdict}</State>}
      </p>
      <dl className="pair">
        <dt>Name</dt>
        <dd>
          <code>{record.name}</code>{" "}
          <Copy text={record.name} what={`name of the ${record.purpose} record`} />
        </dd>
        <dt>Value</dt>
        {(checked?.suggestion.length ? checked.suggestion : values).map((value) => (
          <dd key={value}>
            <code>{value}</code>{" "}
            <Copy text={value} what={`value of the ${record.purpose} record`} />
          </dd>
        ))}
      </dl>
      {checked && checked.verdict !== "right" && (
        <div className="found">
          <p>{checked.detail}</p>
          {checked.found.length > 0 && (
            <p className="weak">
              Found:{" "}
              {checked.found.map((value) => (
                <code key={value}>{value}</code>
              ))}
            </p>
          )}
          <p className="weak">{checked.why}</p>
        </div>
      )}
    </li>
  );
}
