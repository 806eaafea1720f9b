"""Pages of lists (``ports.listing``), for every noun: scope, filters, order and total.

Theory:

- A statement is composed of the conditions that a list has, and planned for its values: tenants
  differ too much in size for one plan.
- The rows of a page are chosen from the noun's table alone, by key and LIMIT. What else is shown of
  them is joined to the chosen ones.
- Rows that belong to a tenant by their domain are chosen domain by domain: each costs a look-up in
  an index by domain and key, and other tenants' rows are never read.
- *Scope* is what an index answers (tenant, domain, recipient), *filters* are compared row by row.
  A total counts within the first ``MOST_READ`` rows of the scope. Where there are more, the share of
  those that match is projected onto the planner's estimate of the scope: no total reads more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.access.tenant_scope import tenant_named
from posthorn.adapters.postgres.conditions import Conditions
from posthorn.adapters.postgres.database import Connection, clean_text
from posthorn.ports.errors import FieldError, ValidationFailed
from posthorn.ports.listing import Key, Listed, ListQuery

MOST_READ = 100_000
"""Rows that a total reads at most."""
_LARGEST = 2**63 - 1

type Condition = tuple[str, *tuple[Any, ...]]
"""A condition with ``{}`` for each of its values, and the values."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a list is sorted by: an expression over the noun's columns that is never null."""

    column: str
    kind: type = str
    """``str``, ``int``, ``float``, ``datetime`` or ``UUID``."""
    tie: str = ""
    """Unique column that decides between equal ones; empty: ``column`` is unique."""
    tie_kind: type = str
    only: str = ""
    """Condition of the rows that this order is for."""


class Listing:
    """Lists of one noun.

    ``columns`` and ``joins`` say what is selected of the chosen rows, which are called ``alias``;
    in orders and conditions the row is called ``within``, empty: the same.
    ``orders`` are the ones that can be asked for, the first of them the noun's own, descending if
    ``newest_first``. ``owner`` is the condition of the rows of a tenant, ``{}``; ``by_domain``: they
    are those of its domains. ``otherwise`` is the tenant of callers for the whole platform; None:
    they see all.
    """

    def __init__(
        self,
        table: str,
        alias: str,
        columns: str,
        joins: str = "",
        *,
        within: str = "",
        orders: Mapping[str, Order],
        searched: Sequence[str] = (),
        state: str = "",
        owner: str = "",
        by_domain: bool = False,
        newest_first: bool = False,
        otherwise: UUID | None = None,
    ) -> None:
        self._row = within or alias
        self._table = table if self._row == table else f"{table} {self._row}"
        self._alias, self._columns, self._joins = alias, columns, joins
        self._orders = orders
        self._own = ("-" if newest_first else "") + next(iter(orders))
        self._searched = " OR ".join(f"strpos(lower({column}), {{0}}) > 0" for column in searched)
        self._state = f"{state} = {{}}"
        self._by_domain = by_domain
        of_domains = f"{self._row}.domain_id IN (SELECT id FROM domains WHERE tenant_id = {{}})"
        self._owner = of_domains if by_domain else owner
        self._otherwise = otherwise

    def containing(self, part: str) -> Condition:
        """Return the condition of the rows whose names contain the text, in any case."""
        return f"({self._searched})", clean_text(part).lower()

    async def page[T](
        self,
        connection: Connection,
        tenant: UUID | None,
        asked: ListQuery,
        read: Callable[[Any], T],
        *,
        domain: str | None = None,
        scope: Conditions | None = None,
        filters: Sequence[Condition] = (),
        few: bool = False,
    ) -> Listed[T]:
        """Return a page of what the caller's ``tenant`` sees, as ``read`` makes it of rows.
        ``connection`` is in a transaction. ``domain``: only of this one, for lists ``by_domain``;
        ``scope`` and ``filters``: conditions of the noun; ``few``: an index finds what is in
        ``scope``, so it is not looked for domain by domain.

        Raises ValidationFailed for a tenant that the caller does not see, and for a key that this
        order has not made.
        """
        listed = await self.rows(
            connection, tenant, asked, domain=domain, scope=scope, filters=filters, few=few
        )
        return Listed([read(row) for row in listed.items], listed.last, listed.total)

    async def rows(
        self,
        connection: Connection,
        tenant: UUID | None,
        asked: ListQuery,
        *,
        domain: str | None = None,
        scope: Conditions | None = None,
        filters: Sequence[Condition] = (),
        few: bool = False,
    ) -> Listed[Any]:
        """Return the rows of a page, as ``page``."""
        await connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
        order, descending = self._order(asked.order)
        search = scope or Conditions()
        if order.only:
            search.add(order.only)
        whose = tenant or self._otherwise
        if asked.owner is not None:
            whose = await tenant_named(connection, tenant, asked.owner)
        if domain is not None:
            # of another tenant: none, which costs nothing
            named = "name = {}" + ("" if whose is None else " AND tenant_id = {}")
            of_domain = f"{self._row}.domain_id = (SELECT id FROM domains WHERE {named})"
            search.add(
                of_domain, *(each for each in (clean_text(domain), whose) if each is not None)
            )
        elif whose is not None:
            search.add(self._owner, whose)
        in_scope = len(search.conditions), len(search.values)
        if asked.part is not None:
            search.add(*self.containing(asked.part))
        if asked.state is not None:
            search.add(self._state, asked.state)
        for condition in filters:
            search.add(*condition)
        total = await self._total(connection, search, *in_scope) if asked.with_total else None
        if asked.after is not None:
            search.add(*_beyond(order, asked.after, descending=descending))
        each_domain = whose is not None and self._by_domain and domain is None and not few
        query = self._query(
            order,
            search.conditions,
            asked.limit + 1,
            descending=descending,
            tenant_at=(in_scope[0] - 1, in_scope[1]) if each_domain else None,
        )
        rows = await connection.fetch(query, *search.values)
        last = _key_of(order, rows[asked.limit - 1]) if len(rows) > asked.limit else None
        return Listed(rows[: asked.limit], last, total)

    def _order(self, name: str) -> tuple[Order, bool]:
        name = name or self._own
        order = self._orders.get(name.removeprefix("-"))
        if order is None:
            raise ValidationFailed(FieldError("sort", "this list has no such order"))
        return order, name.startswith("-")

    def _query(
        self,
        order: Order,
        conditions: Sequence[str],
        limit: int,
        *,
        descending: bool,
        tenant_at: tuple[int, int] | None,
    ) -> str:
        """Return the statement. ``tenant_at``: choose domain by domain, of the tenant whose
        condition is at this place and whose value has this number."""
        direction = "DESC" if descending else "ASC"
        keys = f"{order.column} AS list_key" + (f", {order.tie} AS list_tie" if order.tie else "")
        sorted_by = f"{order.column} {direction}" + (
            f", {order.tie} {direction}" if order.tie else ""
        )
        by_key = f"list_key {direction}" + (f", list_tie {direction}" if order.tie else "")
        chosen = f"SELECT {self._row}.*, {keys} FROM {self._table} WHERE {{where}} ORDER BY {sorted_by} LIMIT {int(limit)}"
        if tenant_at is None:
            chosen = chosen.replace("{where}", " AND ".join(conditions) or "true")
        else:
            place, number = tenant_at
            within = [
                f"{self._row}.domain_id = owned.id",
                *conditions[:place],
                *conditions[place + 1 :],
            ]
            chosen = (
                f"SELECT of_domain.* FROM domains owned CROSS JOIN LATERAL ({chosen.replace('{where}', ' AND '.join(within))})"
                f" AS of_domain WHERE owned.tenant_id = ${number} ORDER BY {by_key} LIMIT {int(limit)}"
            )
        shown = f"{self._alias}.list_key" + (f", {self._alias}.list_tie" if order.tie else "")
        return f"SELECT {self._columns}, {shown} FROM ({chosen}) AS {self._alias} {self._joins} ORDER BY {by_key}"

    async def _total(
        self, connection: Connection, search: Conditions, conditions: int, values: int
    ) -> int:
        """Return how many rows match. The first ``conditions`` with the first ``values`` are the
        scope."""
        scope = " AND ".join(search.conditions[:conditions]) or "true"
        filters = " AND ".join(search.conditions[conditions:]) or "true"
        found: Any = await connection.fetchrow(
            f"SELECT count(*) AS read, count(*) FILTER (WHERE is_meant) AS meant"
            f" FROM (SELECT {filters} AS is_meant FROM {self._table} WHERE {scope} LIMIT {MOST_READ}) AS within",
            *search.values,
        )
        if found["read"] < MOST_READ:
            return int(found["meant"])
        plan = await connection.fetchval(
            f"EXPLAIN (FORMAT JSON) SELECT FROM {self._table} WHERE {scope}",
            *search.values[:values],
        )
        whole = max(int(plan[0]["Plan"]["Plan Rows"]), int(found["read"]))
        return int(found["meant"]) * whole // int(found["read"])


def _beyond(order: Order, after: Key, *, descending: bool) -> Condition:
    """Return the condition of what follows a key. Raises ValidationFailed."""
    kinds = (order.kind, order.tie_kind) if order.tie else (order.kind,)
    if len(after) != len(kinds):
        raise _bad_cursor()
    values = [_value(kind, each) for kind, each in zip(kinds, after, strict=True)]
    compared = "<" if descending else ">"
    if order.tie:
        return f"({order.column}, {order.tie}) {compared} ({{}}, {{}})", *values
    return f"{order.column} {compared} {{}}", *values


def _key_of(order: Order, row: Any) -> Key:
    parts = (row["list_key"], row["list_tie"]) if order.tie else (row["list_key"],)
    return tuple(_plain(part) for part in parts)


def _plain(part: object) -> str | int:
    if isinstance(part, datetime):
        return part.isoformat()
    return part if isinstance(part, int) else str(part)


def _value(kind: type, part: str | int) -> object:
    if kind is int and isinstance(part, int) and 0 <= part <= _LARGEST:
        return part
    if kind is not int and isinstance(part, str):
        try:
            if kind is datetime:
                moment = datetime.fromisoformat(part)
                if moment.tzinfo is not None:
                    return moment
            elif kind is float:
                if isfinite(number := float(part)):
                    return number
            else:
                return UUID(part) if kind is UUID else clean_text(part)
        except ValueError:
            pass
    raise _bad_cursor()


def _bad_cursor() -> ValidationFailed:
    return ValidationFailed(FieldError("cursor", "not a next_cursor of this list"))
