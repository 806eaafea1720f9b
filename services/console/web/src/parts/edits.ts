/** Fields of an object that a form shows and changes. */

export interface EditedField {
  name: string;
  label: string;
  hint?: string;
  /** lines: a list, an entry a line; size: bytes, with a unit; day: its beginning in UTC; switch:
   * on, off, or null. An empty text is null. */
  kind: "text" | "number" | "size" | "lines" | "tick" | "choice" | "day" | "switch";
  options?: readonly (readonly [string, string])[];
  /** What an empty text stands for; null unless it says otherwise. */
  empty?: "null" | "left out" | "list";
}

export type Fields = Readonly<Record<string, unknown>>;

const UNITS = ["", "KiB", "MiB", "GiB", "TiB"];

/** Return a number of bytes in the largest unit that shows it exactly. */
export function exactSize(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value !== 0 && value % 1024 === 0 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value} ${UNITS[unit]}`.trim();
}

/** Return the bytes that a text such as "2 GiB" stands for; NaN if it stands for none. */
export function bytesIn(text: string): number {
  const found = /^\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?b(?:ytes)?|ytes)?\s*$/i.exec(text);
  if (found === null) return Number.NaN;
  const power = "kmgt".indexOf((found[2] ?? "").toLowerCase());
  return Math.round(Number(found[1]) * 1024 ** (found[2] ? power + 1 : 0));
}

/** Return a field as the text that its input shows. */
export function shownOf(field: EditedField, value: unknown): string {
  if (value === null || value === undefined) return "";
  if (field.kind === "size" && typeof value === "number") return exactSize(value);
  if (field.kind === "day") return String(value).slice(0, 10);
  if (field.kind === "switch") return value ? "on" : "off";
  if (Array.isArray(value)) return value.join("\n");
  return String(value);
}

/** Return the value of a field in a form that was sent; undefined if it is to be left out. */
export function readOf(field: EditedField, form: FormData): unknown {
  if (field.kind === "tick") return form.get(field.name) !== null;
  const text = String(form.get(field.name) ?? "").trim();
  if (text === "" && field.empty === "left out") return undefined;
  if (field.kind === "lines") {
    const entries = text.split(/[\s,]+/).filter(Boolean);
    return entries.length === 0 && field.empty !== "list" ? null : entries;
  }
  if (text === "") return null;
  if (field.kind === "number") return Number(text);
  if (field.kind === "size") return bytesIn(text);
  if (field.kind === "switch") return text === "on";
  if (field.kind === "day") return `${text}T00:00:00Z`;
  return text;
}

/** Return all values of a form, for a creation. */
export function valuesOf(fields: readonly EditedField[], form: FormData): Record<string, unknown> {
  const values = fields.map((field) => [field.name, readOf(field, form)] as const);
  return Object.fromEntries(values.filter(([, value]) => value !== undefined));
}

/** Return the values of a form that differ from those of an object. */
export function changesOf(
  fields: readonly EditedField[],
  before: Fields,
  form: FormData,
): Record<string, unknown> {
  const values = Object.entries(valuesOf(fields, form));
  return Object.fromEntries(values.filter(([name, value]) => !isSame(value, before[name] ?? null)));
}

/** Return what takes a change back: the values that its fields had before. */
export function formerOf(before: Fields, change: Fields): Record<string, unknown> {
  return Object.fromEntries(Object.keys(change).map((name) => [name, before[name] ?? null]));
}

export interface Difference {
  label: string;
  before: string;
  mine: string;
  theirs: string;
}

/** Return what two people changed: the fields that either has changed, as the texts of inputs. */
export function differences(
  fields: readonly EditedField[],
  before: Fields,
  mine: Fields,
  theirs: Fields,
): Difference[] {
  return fields
    .filter(({ name }) => name in mine || !isSame(before[name], theirs[name]))
    .map((field) => ({
      label: field.label,
      before: shownOf(field, before[field.name]) || "none",
      mine: shownOf(field, field.name in mine ? mine[field.name] : before[field.name]) || "none",
      theirs: shownOf(field, theirs[field.name]) || "none",
    }));
}

function isSame(one: unknown, other: unknown): boolean {
  return JSON.stringify(one ?? null) === JSON.stringify(other ?? null);
}
