import { useState } from "react";
import { answer } from "../api/client";
import { problemOf } from "../api/problem";
import type { List, Page } from "../api/queries";
import { announce } from "./live";
import { count } from "./moments";

/** Lines of one file from a browser; more are the command line's. */
const MOST = 10_000;

/** Saves a whole list, not only what is shown of it, as a file with a JSON document a line. */
export function SaveList<Row>({ list, name }: { list: List<Row>; name: string }) {
  const [isSaving, setIsSaving] = useState(false);
  const save = async () => {
    setIsSaving(true);
    try {
      const rows: Row[] = [];
      let cursor: string | null = null;
      do {
        const page: Page<Row> = await answer(list.page(cursor));
        rows.push(...page.items);
        cursor = page.next_cursor ?? null;
      } while (cursor !== null && rows.length < MOST);
      download(`${name}.ndjson`, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
      const rest = cursor === null ? "" : "; there are more, which the command line exports";
      announce(`Saved ${count(rows.length)} lines${rest}`);
    } catch (failure) {
      announce(`Not saved: ${problemOf(failure).message}`);
    } finally {
      setIsSaving(false);
    }
  };
  return (
    <button type="button" className="quiet" disabled={isSaving} onClick={() => void save()}>
      {isSaving ? "Saving…" : "Save all as JSON"}
    </button>
  );
}

function download(name: string, text: string) {
  const url = URL.createObjectURL(new Blob([text], { type: "application/x-ndjson" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
