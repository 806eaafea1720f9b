import type { ReactNode } from "react";
import type { List } from "../api/queries";
import { count } from "./moments";
import { Failure, Loading } from "./notices";

export interface Column<Row> {
  id: string;
  title: string;
  cell: (row: Row) => ReactNode;
  /** The name by which the API sorts, if it can. */
  sort?: string;
  end?: boolean;
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
  /** What the list is sorted by: a name, with a minus in front for the last first. */
  sorted?: string | undefined;
  onSort?: (sort: string) => void;
}) {
  const { caption, columns, list, rowKey, empty, ticks, sorted, onSort } = properties;
  const { items, total, query } = list;
  if (query.isPending) return <Loading />;
  if (query.isError && items.length === 0)
    return <Failure problem={query.error} again={() => void query.refetch()} />;
  if (items.length === 0) return empty;
  return (
    <>
      {query.isError && <Failure problem={query.error} again={() => void query.refetch()} />}
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls takes the arrow keys */}
      <section className="table-frame" tabIndex={0} aria-label={caption}>
        <table>
          <caption className="unseen">{caption}</caption>
          <thead>
            <tr>
              {ticks && <TickAll items={items} rowKey={rowKey} ticks={ticks} />}
              {columns.map((column) => (
                <Head key={column.id} column={column} sorted={sorted} onSort={onSort} />
              ))}
            </tr>
          </thead>
          <tbody>
            {items.map((row) => {
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
                    <td key={column.id} className={column.end ? "end" : undefined}>
                      {column.cell(row)}
                    </td>
                  ))}
                </tr>
              );
            })}
          </tbody>
        </table>
      </section>
      <p className="table-foot">
        <span className="weak">
          {count(items.length)} shown{total === null ? "" : ` of about ${count(total)}`}
        </span>
        {query.hasNextPage && (
          <button
            type="button"
            disabled={query.isFetchingNextPage}
            onClick={() => void query.fetchNextPage()}
          >
            {query.isFetchingNextPage ? "Loading…" : "Load more"}
          </button>
        )}
      </p>
    </>
  );
}

function Head<Row>(properties: {
  column: Column<Row>;
  sorted: string | undefined;
  onSort: ((sort: string) => void) | undefined;
}) {
  const { column, sorted, onSort } = properties;
  const { sort } = column;
  const order =
    sort === undefined || sorted === undefined
      ? undefined
      : sorted === sort
        ? "ascending"
        : sorted === `-${sort}`
          ? "descending"
          : undefined;
  return (
    <th scope="col" aria-sort={order} className={column.end ? "end" : undefined}>
      {sort !== undefined && onSort ? (
        <button
          type="button"
          className="sort"
          onClick={() => onSort(order === "ascending" ? `-${sort}` : sort)}
        >
          {column.title} {order === "ascending" ? "▲" : order === "descending" ? "▼" : ""}
        </button>
      ) : (
        column.title
      )}
    </th>
  );
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
