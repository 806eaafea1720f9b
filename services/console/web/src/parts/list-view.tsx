import type { ReactNode } from "react";
import { useMe } from "../api/me";
import type { List } from "../api/queries";
import { FilterBar } from "./filter-bar";
import type { ListFilters } from "./list-filters";
import { NothingMatches } from "./notices";
import type { Search } from "./search";
import { type Column, DataTable, type Ticks } from "./table";

type Values = Readonly<Record<string, string | undefined>>;

/** A list of the API with its filters and orders, which stand in the address. */
export function ListView<
  Row,
  Text extends string,
  State extends string,
  Order extends string,
>(properties: {
  filters: ListFilters<Text, State, Order>;
  values: Values;
  /** Goes to the address with these filters. */
  go: (search: { [name in Text]?: string } & { state?: State; sort?: Order }) => void;
  caption: string;
  columns: readonly Column<Row>[];
  list: List<Row>;
  rowKey: (row: Row) => string;
  empty: ReactNode;
  ticks?: Ticks;
  saveAs?: string;
  /** Stands between the filters and the table. */
  children?: ReactNode;
}) {
  const { filters, values, go, empty, children, ...table } = properties;
  const isOfTenant = useMe().data?.tenant !== null;
  const to = (search: Search) => go(filters.read(search));
  const { sort, ...chosen } = values;
  const isFiltered = Object.values(chosen).some((value) => value !== undefined);
  return (
    <>
      <FilterBar
        filters={filters.bar(isOfTenant)}
        values={values}
        apply={(form) => to({ ...form, sort })}
      />
      {children}
      <DataTable
        {...table}
        sorting={{ sort, change: (order) => to({ ...chosen, sort: order }) }}
        empty={isFiltered ? <NothingMatches clear={() => to({ sort })} /> : empty}
      />
    </>
  );
}
