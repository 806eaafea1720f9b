/** What a list is searched, chosen and sorted by, as it stands in the address. */
import type { Filter } from "./filter-bar";
import { choiceIn, type Search, textsIn } from "./search";

const LABELS: Readonly<Record<string, string>> = {
  q: "Search",
  domain: "Domain",
  tenant: "Tenant",
};

export interface ListFilters<Text extends string, State extends string, Order extends string> {
  /** Return the filters in an address, or in a form that was sent. */
  read: (search: Search) => { [name in Text]?: string } & { state?: State; sort?: Order };
  /** Return the inputs. That of the tenant is for callers who see all. */
  bar: (isOfTenant: boolean) => readonly Filter[];
}

export function listFilters<
  Text extends string,
  State extends string = never,
  Order extends string = never,
>(of: {
  texts: readonly Text[];
  labels?: Readonly<Record<string, string>>;
  states?: readonly State[];
  /** What the list shows where no state is chosen; any, unless it says otherwise. */
  stateless?: string;
  orders: readonly Order[];
}): ListFilters<Text, State, Order> {
  const { texts, labels = {}, states = [], stateless, orders } = of;
  return {
    read: (search) => ({
      ...textsIn(search, texts),
      ...choiceIn(search, "state", states),
      ...choiceIn(search, "sort", orders),
    }),
    bar: (isOfTenant) => [
      ...texts
        .filter((name) => !(isOfTenant && name === "tenant"))
        .map((name) => ({ name, label: labels[name] ?? LABELS[name] ?? name })),
      ...(states.length === 0
        ? []
        : [
            {
              name: "state",
              label: "State",
              options: states,
              ...(stateless === undefined ? {} : { none: stateless }),
            },
          ]),
    ],
  };
}

/** Return the order after a click on a column: up, then down, then that of the API. */
export function nextOrder(order: string | undefined, column: string): string | undefined {
  if (order === column) return `-${column}`;
  return order === `-${column}` ? undefined : column;
}
