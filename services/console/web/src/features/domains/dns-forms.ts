/** DNS records in the forms of tools that keep zones: Terraform and external-dns. */
import type { ZoneRecord } from "./zone-file";

/** Return resources of Terraform's provider `hashicorp/dns` (RFC 2136 updates); records outside of
 * the domain's zone, such as PTR, are named in a comment. */
export function terraform(domain: string, records: readonly ZoneRecord[]): string {
  const zone = `zone = ${hcl(`${domain}.`)}`;
  const seen = new Map<string, number>();
  return records
    .map((record) => {
      const name = relative(record.name, domain);
      const kind = KINDS[record.type];
      if (name === null || kind === undefined)
        return `# not of this zone: ${record.name} ${record.type} ${record.values.join(" ")}\n`;
      const label = `${record.type}_${record.name}`.toLowerCase().replaceAll(/[^a-z0-9]+/g, "_");
      const times = (seen.get(label) ?? 0) + 1;
      seen.set(label, times);
      const lines = [
        `resource "${kind}" "${label}${times > 1 ? `_${times}` : ""}" {`,
        `  ${zone}`,
        ...(name === "" ? [] : [`  name = ${hcl(name)}`]),
        `  ttl  = ${record.ttl}`,
        ...contents(record).map((line) => `  ${line}`),
        "}",
      ];
      return `${lines.join("\n")}\n`;
    })
    .join("\n");
}

/** Return a DNSEndpoint, which external-dns publishes with `--source=crd` and the record types in
 * `--managed-record-types`. */
export function dnsEndpoint(domain: string, records: readonly ZoneRecord[]): string {
  const endpoints = records
    .filter((record) => relative(record.name, domain) !== null)
    .flatMap((record) => [
      `    - dnsName: ${record.name}`,
      `      recordTTL: ${record.ttl}`,
      `      recordType: ${record.type}`,
      "      targets:",
      ...record.values.map((value) => `        - ${JSON.stringify(target(record.type, value))}`),
    ]);
  return `${[
    "apiVersion: externaldns.k8s.io/v1alpha1",
    "kind: DNSEndpoint",
    "metadata:",
    `  name: mail-${domain.replaceAll(".", "-")}`,
    "spec:",
    "  endpoints:",
    ...endpoints,
  ].join("\n")}\n`;
}

const KINDS: Readonly<Record<string, string>> = {
  MX: "dns_mx_record_set",
  TXT: "dns_txt_record_set",
  CNAME: "dns_cname_record",
  SRV: "dns_srv_record_set",
};

function contents({ type, values }: ZoneRecord): string[] {
  switch (type) {
    case "TXT":
      return [`txt  = [${values.map(hcl).join(", ")}]`];
    case "CNAME":
      return values.slice(0, 1).map((value) => `cname = ${hcl(absolute(value))}`);
    case "MX":
      return values.flatMap((value) => {
        const [preference, exchange = ""] = value.split(" ");
        return [
          "mx {",
          `  preference = ${preference}`,
          `  exchange   = ${hcl(absolute(exchange))}`,
          "}",
        ];
      });
    default:
      return values.flatMap((value) => {
        const [priority, weight, port, host = ""] = value.split(" ");
        return [
          "srv {",
          `  priority = ${priority}`,
          `  weight   = ${weight}`,
          `  port     = ${port}`,
          `  target   = ${hcl(absolute(host))}`,
          "}",
        ];
      });
  }
}

/* the host of an SRV record is refused by external-dns without its dot */
function target(type: string, value: string): string {
  return type === "SRV" ? absolute(value) : value;
}

function absolute(name: string): string {
  return name.endsWith(".") ? name : `${name}.`;
}

/** Return a name within a zone, which is empty for the zone itself; null if it is elsewhere. */
function relative(name: string, zone: string): string | null {
  if (name === zone) return "";
  return name.endsWith(`.${zone}`) ? name.slice(0, -zone.length - 1) : null;
}

function hcl(text: string): string {
  return JSON.stringify(text).replaceAll(/[$%](?=\{)/g, "$&$&");
}
