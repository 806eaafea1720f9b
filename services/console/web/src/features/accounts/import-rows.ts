/** Accounts to import, and what came of each line. */
import { addressFaults, csvLines, type Row } from "../../parts/csv";
import { bytesIn } from "../../parts/edits";

export const COLUMNS = ["address", "password", "quota"] as const;

export interface AccountRow extends Row {
  address: string;
  password: string;
  /** Whether the password was made here, since the line has none. */
  isMade: boolean;
  quota_bytes: number | null;
}

export function accountRows(text: string, newPassword: () => string): AccountRow[] {
  const lines = csvLines(text, COLUMNS);
  const faults = addressFaults(lines);
  return lines.map(({ line, values }, at) => {
    const quota = values.quota === undefined ? null : bytesIn(values.quota);
    return {
      line,
      address: values.address ?? "",
      password: values.password ?? newPassword(),
      isMade: values.password === undefined,
      quota_bytes: quota,
      faults: [
        ...(faults[at] ?? []),
        ...(Number.isNaN(quota) ? [`${values.quota} is no size, such as 5 GiB`] : []),
      ],
    };
  });
}

/** Return the body of an import: a line of JSON each. */
export function linesOf(rows: readonly AccountRow[]): string {
  return rows
    .map(({ address, password, quota_bytes }) =>
      JSON.stringify({ address, password, ...(quota_bytes === null ? {} : { quota_bytes }) }),
    )
    .map((line) => `${line}\n`)
    .join("");
}

export interface Imported {
  row: AccountRow;
  status: "created" | "unchanged" | "failed" | "not reached";
  errors: string;
}

/** Return what the API answered for each line. */
export function outcomesIn(answer: string, rows: readonly AccountRow[]): Imported[] {
  const lines = answer
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Answer);
  const last = lines.find((line) => line.line === undefined);
  return rows.map((row, at) => {
    const found = lines.find((line) => line.line === at + 1);
    if (found?.status === undefined || typeof found.status === "number")
      return { row, status: "not reached", errors: last?.detail ?? "" };
    const errors = (found.errors ?? []).map(({ field, message }) => `${field}: ${message}`);
    if (found.managed_by) errors.push(`managed by ${found.managed_by}: change it there`);
    return { row, status: found.status, errors: errors.join("; ") };
  });
}

interface Answer {
  line?: number;
  status?: "created" | "unchanged" | "failed" | number;
  errors?: readonly { field: string; message: string }[] | null;
  detail?: string;
  managed_by?: string;
}

/** Return the passwords that were made here for accounts that were created, as CSV. */
export function madePasswords(outcomes: readonly Imported[]): string {
  return outcomes
    .filter(({ row, status }) => row.isMade && status === "created")
    .map(({ row }) => `${row.address},${row.password}\n`)
    .join("");
}
