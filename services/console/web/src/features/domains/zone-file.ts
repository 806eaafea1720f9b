/** DNS records in the form of a zone file (RFC 1035 section 5). */
export interface ZoneRecord {
  name: string;
  type: string;
  values: readonly string[];
  strings: readonly (readonly string[])[] | null;
  ttl: number;
}

export function zoneFile(records: readonly ZoneRecord[]): string {
  return records
    .flatMap((record) =>
      record.values.map((value, place) => {
        const data =
          record.type === "TXT"
            ? quotedValues(record)[place]
            : value.replace(/(\S*[a-z]\S*)$/i, "$1.");
        return `${record.name}. ${record.ttl} IN ${record.type} ${data}\n`;
      }),
    )
    .join("");
}

/** Return the values of a TXT record in quoted pieces of at most 255 bytes each; others as they are. */
export function quotedValues({ type, values, strings }: ZoneRecord): readonly string[] {
  if (type !== "TXT") return values;
  return values.map((value, place) => (strings?.[place] ?? [value]).map(quotedText).join(" "));
}

function quotedText(text: string): string {
  return `"${text.replaceAll(/["\\]/g, "\\$&")}"`;
}
