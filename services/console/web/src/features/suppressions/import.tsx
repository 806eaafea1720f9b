import { useState } from "react";
import { api, once } from "../../api/client";
import { useActions } from "../../api/queries";
import { addressFaults, csvLines, type Row } from "../../parts/csv";
import { Import } from "../../parts/import";
import { count } from "../../parts/moments";

const COLUMNS = ["address", "reason"] as const;

interface SuppressionRow extends Row {
  address: string;
  reason: string;
}

function rowsIn(text: string): SuppressionRow[] {
  const lines = csvLines(text, COLUMNS);
  const faults = addressFaults(lines);
  return lines.map(({ line, values }, at) => ({
    line,
    address: values.address ?? "",
    reason: values.reason ?? "imported",
    faults: faults[at] ?? [],
  }));
}

/** Suppresses many addresses of pasted lines. */
export function ImportSuppressions({ close }: { close: () => void }) {
  const [key] = useState(() => crypto.randomUUID());
  const action = useActions(
    (rows: readonly SuppressionRow[]) =>
      rows.map(({ line, address, reason }) =>
        api.POST("/v1/suppressions", {
          body: { address, reason },
          headers: once(`${key}-${line}`),
        }),
      ),
    {
      changes: ["suppressions"],
      said: (made) => `Suppressed addresses: ${count(made.length)}`,
      done: close,
    },
  );
  return (
    <Import
      title="Import suppressions"
      noun="suppressions"
      columns={COLUMNS}
      example={"gone@example.net,550 5.1.1 no such user\ndave@example.net"}
      hint="One address a line, with the reason if there is one."
      command="posthorn suppression create"
      read={rowsIn}
      shown={[
        { id: "address", title: "Address", cell: (row) => row.address },
        { id: "reason", title: "Reason", cell: (row) => row.reason },
      ]}
      action={action}
      close={close}
    />
  );
}
