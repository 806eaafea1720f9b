import { type FormEvent, type ReactNode, useState } from "react";
import type { Action } from "../api/queries";
import { CopyAs } from "./copy-as";
import type { Row } from "./csv";
import { Dialog } from "./dialog";
import { Field, TextArea } from "./form";
import { count } from "./moments";
import { Failure, Notice } from "./notices";
import { type Column, RowTable } from "./table";

/** Lines in one import from a browser; more are the command line's. */
const MOST = 1000;
const SHOWN = 100;

/** Makes many objects of pasted lines or of a file: first all lines are shown with what is wrong
 * with them, and nothing is sent before none is. */
export function Import<R extends Row>(properties: {
  title: string;
  /** What they are called. */
  noun: string;
  columns: readonly string[];
  example: string;
  hint: ReactNode;
  command: string;
  read: (text: string) => readonly R[];
  /** Asks the API what else is wrong; the faults by the number of the line. */
  check?: (rows: readonly R[]) => Promise<ReadonlyMap<number, string>>;
  shown: readonly Column<R>[];
  action: Action<readonly R[]>;
  close: () => void;
}) {
  const { title, noun, columns, example, hint, command, read, check, shown, action, close } =
    properties;
  const [text, setText] = useState("");
  const [rows, setRows] = useState<readonly R[] | null>(null);
  const [isChecking, setIsChecking] = useState(false);
  const preview = async (event: FormEvent) => {
    event.preventDefault();
    action.reset();
    const found = read(text);
    setIsChecking(true);
    /* what cannot be asked for now is said by the import itself */
    const more =
      found.length > MOST
        ? new Map<number, string>()
        : await (check?.(found).catch(() => new Map<number, string>()) ?? new Map());
    setIsChecking(false);
    setRows(
      found.map((row) => {
        const fault = more.get(row.line);
        return fault === undefined || row.faults.length > 0 ? row : { ...row, faults: [fault] };
      }),
    );
  };
  return (
    <Dialog title={title} close={close} className="wide">
      {rows === null ? (
        <form onSubmit={preview}>
          <TextArea
            name="lines"
            label="Lines"
            hint={hint}
            rows={8}
            placeholder={example}
            value={text}
            onChange={(event) => setText(event.target.value)}
            required
          />
          <Field
            name="file"
            label="Or a file"
            type="file"
            accept=".csv,.tsv,.txt,text/csv"
            hint={`CSV with the columns ${columns.join(", ")}.`}
            onChange={(event) => void event.target.files?.[0]?.text().then(setText)}
          />
          <div className="actions">
            <button type="submit" className="primary" disabled={isChecking}>
              Preview
            </button>
            <button type="button" onClick={close}>
              Cancel
            </button>
          </div>
        </form>
      ) : (
        <Preview
          rows={rows}
          noun={noun}
          command={command}
          shown={shown}
          action={action}
          back={() => setRows(null)}
        />
      )}
    </Dialog>
  );
}

function Preview<R extends Row>(properties: {
  rows: readonly R[];
  noun: string;
  command: string;
  shown: readonly Column<R>[];
  action: Action<readonly R[]>;
  back: () => void;
}) {
  const { rows, noun, command, shown, action, back } = properties;
  const wrong = rows.filter((row) => row.faults.length > 0);
  const isFit = rows.length > 0 && wrong.length === 0 && rows.length <= MOST;
  const columns: readonly Column<R>[] = [
    { id: "line", title: "Line", end: true, cell: (row) => row.line },
    ...shown,
    { id: "faults", title: "Wrong", cell: (row) => row.faults.join("; ") },
  ];
  return (
    <>
      {rows.length === 0 && <Notice kind="bad" title="There are no lines" />}
      {rows.length > MOST && (
        <Notice kind="bad" title={`These are more than ${count(MOST)} lines`}>
          Import so many by <code>{command}</code>.
        </Notice>
      )}
      {wrong.length > 0 && (
        <Notice
          kind="bad"
          title={wrong.length === 1 ? "1 line is wrong" : `${count(wrong.length)} lines are wrong`}
        >
          Nothing is imported. Mend them, and preview again.
        </Notice>
      )}
      {isFit && (
        <Notice kind="good" title={`${count(rows.length)} ${noun} can be imported`}>
          What is there already stays as it is.
        </Notice>
      )}
      <Failure problem={action.error} />
      {rows.length > 0 && (
        <RowTable
          caption="Lines"
          columns={columns}
          rows={(wrong.length > 0 ? wrong : rows).slice(0, SHOWN)}
          rowKey={(row) => String(row.line)}
        />
      )}
      {(wrong.length || rows.length) > SHOWN && (
        <p className="weak">The first {SHOWN} are shown.</p>
      )}
      <div className="actions">
        <button
          type="button"
          className="primary"
          disabled={!isFit || action.isPending}
          onClick={() => action.mutate(rows)}
        >
          {action.isPending ? "Importing…" : `Import ${noun}`}
        </button>
        <button type="button" onClick={back}>
          Back to the lines
        </button>
        <CopyAs calls={() => action.describe(rows)} />
      </div>
    </>
  );
}
