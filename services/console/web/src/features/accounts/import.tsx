import { useState } from "react";
import type { Call } from "../../api/call";
import { answer, api, once } from "../../api/client";
import { useAction } from "../../api/queries";
import { Copy } from "../../parts/copy";
import { Dialog } from "../../parts/dialog";
import { Import } from "../../parts/import";
import { size } from "../../parts/moments";
import { newPassword } from "../../parts/passwords";
import { State } from "../../parts/state";
import { type Column, RowTable } from "../../parts/table";
import {
  type AccountRow,
  accountRows,
  COLUMNS,
  type Imported,
  linesOf,
  madePasswords,
  outcomesIn,
} from "./import-rows";

const SHOWN: readonly Column<AccountRow>[] = [
  { id: "address", title: "Address", cell: (row) => row.address },
  { id: "password", title: "Password", cell: (row) => (row.isMade ? "is made" : "given") },
  {
    id: "quota",
    title: "Quota",
    cell: (row) =>
      row.quota_bytes === null || Number.isNaN(row.quota_bytes)
        ? "unlimited"
        : size(row.quota_bytes),
  },
];

/** Creates many accounts of pasted lines. */
export function ImportAccounts({ close }: { close: () => void }) {
  const [outcomes, setOutcomes] = useState<readonly Imported[] | null>(null);
  const [key] = useState(() => crypto.randomUUID());
  const action = useAction(
    (rows: readonly AccountRow[]) =>
      api.POST("/v1/import/accounts", sent(rows, once(key))) as Call<unknown> as Call<string>,
    {
      changes: ["accounts"],
      said: (text, rows) => {
        const made = outcomesIn(text, rows).filter(({ status }) => status === "created");
        return `Created accounts: ${made.length}`;
      },
      done: (text, rows) => setOutcomes(outcomesIn(text, rows)),
    },
  );
  if (outcomes !== null) return <Outcome outcomes={outcomes} close={close} />;
  return (
    <Import
      title="Import accounts"
      noun="accounts"
      columns={COLUMNS}
      example={"carol@example.org,,5 GiB\ndave@example.org,correct horse battery"}
      hint="One account a line: address, password, quota. Without a password a long one is made, and shown at the end."
      command="posthorn import accounts lines.ndjson"
      read={(text) => accountRows(text, newPassword)}
      check={planned}
      shown={SHOWN}
      action={action}
      close={close}
    />
  );
}

/** Return what is sent of lines: lines of JSON, which the API's document describes as one of them. */
function sent(rows: readonly AccountRow[], headers: Readonly<Record<string, string>>) {
  return {
    body: linesOf(rows) as unknown as never,
    bodySerializer: (lines: unknown) => lines,
    headers: { ...headers, "Content-Type": "application/x-ndjson" },
    parseAs: "text" as const,
  };
}

/** Ask what would come of each line; return why those would fail that would. */
async function planned(rows: readonly AccountRow[]): Promise<ReadonlyMap<number, string>> {
  const text = (await answer(
    api.POST("/v1/import/accounts/plan", sent(rows, {})),
  )) as unknown as string;
  return new Map(
    outcomesIn(text, rows)
      .filter(({ status }) => status === "failed")
      .map(({ row, errors }) => [row.line, errors]),
  );
}

const MARKS = { created: "good", unchanged: "idle", failed: "bad", "not reached": "warn" } as const;

const OUTCOMES: readonly Column<Imported>[] = [
  { id: "line", title: "Line", end: true, cell: ({ row }) => row.line },
  { id: "address", title: "Address", cell: ({ row }) => row.address },
  {
    id: "status",
    title: "Outcome",
    cell: ({ status }) => <State kind={MARKS[status]}>{status}</State>,
  },
  { id: "errors", title: "Why", cell: ({ errors }) => errors },
];

/** What came of each line; passwords that were made here are shown once. */
function Outcome({ outcomes, close }: { outcomes: readonly Imported[]; close: () => void }) {
  const passwords = madePasswords(outcomes);
  const [isKept, setIsKept] = useState(passwords === "");
  return (
    <Dialog title="Imported accounts" close={() => isKept && close()} className="wide" keeps>
      <RowTable
        caption="Outcome of each line"
        columns={OUTCOMES}
        rows={outcomes}
        rowKey={({ row }) => String(row.line)}
      />
      {passwords !== "" && (
        <>
          <p>
            The passwords that were made are known here alone.{" "}
            <Copy text={passwords} what="new passwords as CSV" label="Copy them as CSV" />
          </p>
          <label className="switch">
            <input
              type="checkbox"
              checked={isKept}
              onChange={(event) => setIsKept(event.target.checked)}
            />
            I have stored them
          </label>
        </>
      )}
      <div className="actions">
        <button type="button" className="primary" disabled={!isKept} onClick={close}>
          Done
        </button>
      </div>
    </Dialog>
  );
}
