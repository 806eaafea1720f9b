"""The port Routes on Postgres."""

from __future__ import annotations

from typing import Any

from posthorn.adapters.postgres.access.idempotency import keep_answer
from posthorn.adapters.postgres.access.listing import Listing, Order
from posthorn.adapters.postgres.database import Database, clean_text
from posthorn.ports.errors import Conflict, NotFound
from posthorn.ports.idempotency import Receipt
from posthorn.ports.listing import Listed, ListQuery
from posthorn.ports.queue import Route

COLUMNS = (
    "domain",
    "host",
    "port",
    "tls",
    "username",
    "password",
    "connections",
    "messages_per_minute",
)
"""The columns of a route, in the order of the dataclass."""

_SELECT = f"SELECT {', '.join(COLUMNS)} FROM routes"

_LIST = Listing(
    "routes",
    "r",
    ", ".join(f"r.{column}" for column in COLUMNS),
    orders={"domain": Order("r.domain")},
    searched=("r.domain", "coalesce(r.host, '')"),
)
_INSERT = f"INSERT INTO routes ({', '.join(COLUMNS)}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"

# xmax is 0 in a row just inserted, and the transaction's id in an updated one
_PUT = f"""
{_INSERT}
ON CONFLICT (domain) DO UPDATE SET host = excluded.host, port = excluded.port, tls = excluded.tls, username = excluded.username,
       password = excluded.password, connections = excluded.connections, messages_per_minute = excluded.messages_per_minute,
       updated_at = now()
RETURNING {", ".join(COLUMNS)}, xmax = 0 AS created
"""


class PostgresRoutes:
    """The port Routes over Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self, asked: ListQuery) -> Listed[Route]:
        """List by domain."""
        async with self._database.transaction() as connection:
            return await _LIST.page(connection, None, asked, as_route)

    async def get(self, domain: str) -> Route:
        async with self._database.session() as connection:
            row = await connection.fetchrow(f"{_SELECT} WHERE domain = $1", clean_text(domain))
        if row is None:
            raise NotFound(f"there is no route for {domain}")
        return as_route(row)

    async def create(self, route: Route, receipt: Receipt[Route] | None = None) -> Route:
        """Create the route of a domain that has none."""
        async with self._database.transaction() as connection:
            if not await connection.fetchval(
                f"{_INSERT} ON CONFLICT (domain) DO NOTHING RETURNING true", *_values(route)
            ):
                raise Conflict(f"a route for {route.domain} already exists; PUT replaces it")
            if receipt is not None:
                await keep_answer(connection, receipt.reservation, receipt.render(route))
        return route

    async def put(self, route: Route) -> tuple[Route, bool]:
        """Set the route of a domain; return it and whether it is new."""
        async with self._database.session() as connection:
            row: Any = await connection.fetchrow(_PUT, *_values(route))
        return as_route(row), row["created"]

    async def delete(self, domain: str) -> None:
        """Remove one. Raises NotFound."""
        async with self._database.session() as connection:
            query = "DELETE FROM routes WHERE domain = $1 RETURNING 1"
            if not await connection.fetchval(query, clean_text(domain)):
                raise NotFound(f"there is no route for {domain}")


def _values(route: Route) -> tuple[Any, ...]:
    return tuple(getattr(route, name) for name in COLUMNS)


def as_route(row: Any) -> Route:
    """Return the route of a row that has its columns."""
    return Route(**{name: row[name] for name in COLUMNS})
