/** Lines of values, pasted or from a file (RFC 4180; semicolons and tabs part values as well). */

export interface CsvLine {
  /** Its number in the text, from 1. */
  line: number;
  /** The values by their column; an empty one is missing. */
  values: Readonly<Record<string, string>>;
}

/** A line that is to be made an object of, with what is wrong with it. */
export interface Row {
  line: number;
  faults: readonly string[];
}

/** Return the lines of a text. A first line that names columns says in which order they come;
 * without it they come as `columns` does. Empty lines are passed over. */
export function csvLines(text: string, columns: readonly string[]): CsvLine[] {
  const records = recordsIn(text, separatorIn(text));
  const head = records[0]?.cells.map((cell) => cell.trim().toLowerCase()) ?? [];
  const isHead = head.some((cell) => cell === columns[0]);
  const names = isHead ? head : columns;
  return records.slice(isHead ? 1 : 0).map(({ line, cells }) => ({
    line,
    values: Object.fromEntries(
      cells.map((cell, at) => [names[at] ?? "", cell.trim()] as const).filter(([, cell]) => cell),
    ),
  }));
}

function separatorIn(text: string): string {
  const first = text.split("\n", 1)[0] ?? "";
  return ["\t", ";"].find((each) => first.includes(each)) ?? ",";
}

function recordsIn(text: string, separator: string): { line: number; cells: string[] }[] {
  const records: { line: number; cells: string[] }[] = [];
  let cells: string[] = [];
  let cell = "";
  let isQuoted = false;
  let line = 1;
  let began = 1;
  const end = () => {
    cells.push(cell);
    if (cells.some((each) => each.trim() !== "")) records.push({ line: began, cells });
    cells = [];
    cell = "";
  };
  const source = text.replaceAll("\r\n", "\n").replace(/^\uFEFF/, "");
  for (let at = 0; at < source.length; at += 1) {
    const character = source[at] as string;
    if (isQuoted) {
      if (character === '"' && source[at + 1] === '"') {
        cell += '"';
        at += 1;
      } else if (character === '"') isQuoted = false;
      else cell += character;
      if (character === "\n") line += 1;
    } else if (character === '"' && cell.trim() === "") {
      isQuoted = true;
      cell = "";
    } else if (character === separator) {
      cells.push(cell);
      cell = "";
    } else if (character === "\n") {
      end();
      line += 1;
      began = line;
    } else cell += character;
  }
  end();
  return records;
}

/** Whether a text may be an address; the API judges it in full. */
export function isAddress(text: string): boolean {
  return /^[^\s@]+@[^\s@]+\.[^\s@]+$/.test(text);
}

/** Return what is wrong with the address of each line: none, not one, or that of another line. */
export function addressFaults(lines: readonly CsvLine[]): string[][] {
  const seen = new Map<string, number>();
  return lines.map(({ line, values }) => {
    const address = values.address?.toLowerCase() ?? "";
    if (address === "") return ["the address is missing"];
    if (!isAddress(address)) return ["this is no address"];
    const before = seen.get(address);
    if (before !== undefined) return [`the same address as in line ${before}`];
    seen.set(address, line);
    return [];
  });
}
