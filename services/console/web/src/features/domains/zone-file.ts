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
            ? (record.strings?.[place] ?? [value]).map(quotedText).join(" ")
            : value.replace(/(\S*[a-z]\S*)$/i, "$1.");
        return `${record.name}. ${record.ttl} IN ${record.type} ${data}\n`;
      }),
    )
    .join("");
}

function quotedText(text: string): string {
  return `"${text.replaceAll(/["\\]/g, "\\$&")}"`;
}
