import type { ReactNode } from "react";
import type { List } from "../api/queries";
import { CopyAs } from "./copy-as";
import { nextOrder } from "./list-filters";
import { count } from "./moments";
import { Failure, Loading } from "./notices";
import { SaveList } from "./save-list";

export interface Column<Row> {
  id: string;
  title: string;
  cell: (row: Row) => ReactNode;
  end?: boolean;
  /** Whether it holds sentences, which need some width. */
  prose?: boolean;
  /** What the API calls the order by this column. */
  sort?: string;
}

/** The order of the rows, and what changes it. */
export interface Sorting {
  sort: string | undefined;
  change: (sort: string | undefined) => void;
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
  sorting?: Sorting;
  /** The name of the file that the list can be saved as. */
  saveAs?: string;
}) {
  const { caption, columns, list, rowKey, empty, ticks, sorting, saveAs } = properties;
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
          {count(items.length)} shown
          {total !== null && query.hasNextPage && ` of about ${count(total)}`}
        </span>
        <span>
          {saveAs !== undefined && <SaveList list={list} name={saveAs} />}
          <CopyAs calls={() => [list.call]} />
        </span>
      </p>
      {query.isError && <Failure problem={query.error} again={() => void query.refetch()} />}
      <RowTable
        caption={caption}
        columns={columns}
        rows={items}
        rowKey={rowKey}
        ticks={ticks}
        sorting={sorting}
      />
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

/** Rows as a table that scrolls by itself where it is wider than the page; on a phone each row is a
 * card. */
export function RowTable<Row>(properties: {
  caption: string;
  columns: readonly Column<Row>[];
  rows: readonly Row[];
  rowKey: (row: Row) => string;
  ticks?: Ticks | undefined;
  sorting?: Sorting | undefined;
}) {
  const { caption, columns, rows, rowKey, ticks, sorting } = properties;
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls takes the arrow keys
    <section className="table-frame" tabIndex={0} aria-label={caption}>
      <table>
        <caption className="unseen">{caption}</caption>
        <thead>
          <tr>
            {ticks && <TickAll items={rows} rowKey={rowKey} ticks={ticks} />}
            {columns.map((column) => (
              <Heading key={column.id} column={column} sorting={sorting} />
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => {
            const key = rowKey(row);
            return (
              <tr key={key} data-row>
                {ticks && (
                  <td className="tick" data-title="Select">
                    <input
                      type="checkbox"
                      aria-label={`Select ${key}`}
                      checked={ticks.ticked.has(key)}
                      onChange={() => ticks.change(toggled(ticks.ticked, key))}
                    />
                  </td>
                )}
                {columns.map((column) => (
                  <td key={column.id} className={classOf(column)} data-title={column.title}>
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

function Heading<Row>(properties: { column: Column<Row>; sorting: Sorting | undefined }) {
  const { column, sorting } = properties;
  const { title, end, sort } = column;
  const className = end ? "end" : undefined;
  if (sort === undefined || sorting === undefined)
    return (
      <th scope="col" className={className}>
        {title}
      </th>
    );
  const isUp = sorting.sort === sort;
  const isDown = sorting.sort === `-${sort}`;
  return (
    <th
      scope="col"
      className={className}
      aria-sort={isUp ? "ascending" : isDown ? "descending" : "none"}
    >
      <button
        type="button"
        className="sort"
        onClick={() => sorting.change(nextOrder(sorting.sort, sort))}
      >
        {title} <span aria-hidden="true">{isUp ? "▲" : isDown ? "▼" : "↕"}</span>
      </button>
    </th>
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
