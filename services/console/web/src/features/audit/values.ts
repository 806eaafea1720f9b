/** What a change set and what was there before, field by field. */

export interface Changed {
  field: string;
  before: string;
  after: string;
}

type Values = Readonly<Record<string, unknown>>;

/** Return the fields of a line in which the values are; what has no value is empty. */
export function changedIn(line: { details: Values; before?: Values }): Changed[] {
  const { details, before = {} } = line;
  const fields = [...new Set([...Object.keys(details), ...Object.keys(before)])];
  return fields.map((field) => ({
    field,
    before: field in before ? textOf(before[field]) : "",
    after: field in details ? textOf(details[field]) : "",
  }));
}

function textOf(value: unknown): string {
  if (value === null || value === undefined) return "none";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
