import type { ReactNode } from "react";
import type { List } from "../api/queries";
import { CopyAs } from "./copy-as";
import { count } from "./moments";
import { Failure, Loading } from "./notices";

export interface Column<Row> {
  id: string;
  title: string;
  cell: (row: Row) => ReactNode;
  end?: boolean;
  /** Whether it holds sentences, which need some width. */
  prose?: boolean;
}

export interface Ticks {
  ticked: ReadonlySet<string>;
  change: (ticked: ReadonlySet<string>) => void;
}

/** A list of the API as a table. */
export function DataTable<Row>(properties: {
  caption: string;
  columns: readonly Column<Row>[];
  list: List<Row>;
  rowKey: (row: Row) => string;
  /** What stands in place of the table when there is nothing. */
  empty: ReactNode;
  ticks?: Ticks;
}) {
  const { caption, columns, list, rowKey, empty, ticks } = properties;
  const { items, total, query } = list;
  if (query.isPending) return <Loading />;
  if (query.isError && items.length === 0)
    return <Failure problem={query.error} again={() => void query.refetch()} />;
  if (items.length === 0)
    return (
      <>
        {empty}
        <p className="table-head">
          <CopyAs calls={() => [list.call]} />
        </p>
      </>
    );
  return (
    <>
      <p className="table-head">
        <span className="weak">
          {count(items.length)} shown{total === null ? "" : ` of about ${count(total)}`}
        </span>
        <CopyAs calls={() => [list.call]} />
      </p>
      {query.isError && <Failure problem={query.error} again={() => void query.refetch()} />}
      <RowTable caption={caption} columns={columns} rows={items} rowKey={rowKey} ticks={ticks} />
      {query.hasNextPage && (
        <p className="table-foot">
          <button
            type="button"
            disabled={query.isFetchingNextPage}
            onClick={() => void query.fetchNextPage()}
          >
            {query.isFetchingNextPage ? "Loading…" : "Load more"}
          </button>
        </p>
      )}
    </>
  );
}

/** Rows as a table that scrolls by itself where it is wider than the page. */
export function RowTable<Row>(properties: {
  caption: string;
  columns: readonly Column<Row>[];
  rows: readonly Row[];
  rowKey: (row: Row) => string;
  ticks?: Ticks | undefined;
}) {
  const { caption, columns, rows, rowKey, ticks } = properties;
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls takes the arrow keys
    <section className="table-frame" tabIndex={0} aria-label={caption}>
      <table>
        <caption className="unseen">{caption}</caption>
        <thead>
          <tr>
            {ticks && <TickAll items={rows} rowKey={rowKey} ticks={ticks} />}
            {columns.map((column) => (
              <th key={column.id} scope="col" className={column.end ? "end" : undefined}>
                {column.title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => {
            const key = rowKey(row);
            return (
              <tr key={key} data-row>
                {ticks && (
                  <td className="tick">
                    <input
                      type="checkbox"
                      aria-label={`Select ${key}`}
                      checked={ticks.ticked.has(key)}
                      onChange={() => ticks.change(toggled(ticks.ticked, key))}
                    />
                  </td>
                )}
                {columns.map((column) => (
                  <td key={column.id} className={classOf(column)}>
                    {column.cell(row)}
                  </td>
                ))}
              </tr>
            );
          })}
        </tbody>
      </table>
    </section>
  );
}

function classOf<Row>({ end, prose }: Column<Row>): string | undefined {
  return end ? "end" : prose ? "prose" : undefined;
}

function TickAll<Row>(properties: {
  items: readonly Row[];
  rowKey: (row: Row) => string;
  ticks: Ticks;
}) {
  const { items, rowKey, ticks } = properties;
  const all = items.every((row) => ticks.ticked.has(rowKey(row)));
  return (
    <th scope="col" className="tick">
      <input
        type="checkbox"
        aria-label="Select all that are shown"
        checked={all}
        onChange={() => ticks.change(all ? new Set() : new Set(items.map(rowKey)))}
      />
    </th>
  );
}

function toggled(ticked: ReadonlySet<string>, key: string): ReadonlySet<string> {
  const changed = new Set(ticked);
  if (!changed.delete(key)) changed.add(key);
  return changed;
}
