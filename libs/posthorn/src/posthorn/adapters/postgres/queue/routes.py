"""The port Routes on Postgres."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from posthorn.adapters.postgres.access.audit import former, write_audit
from posthorn.adapters.postgres.access.idempotency import keep_answer
from posthorn.adapters.postgres.access.listing import Listing, Order
from posthorn.adapters.postgres.access.tenant_scope import MOVED, check_version, version_of
from posthorn.adapters.postgres.database import Connection, Database, clean_text
from posthorn.adapters.postgres.directory.managers import (
    MANAGER,
    managed_by,
    mark_new,
    note_manager,
)
from posthorn.ports.changes import Versions
from posthorn.ports.errors import Conflict, NotFound, PreconditionFailed
from posthorn.ports.idempotency import Receipt
from posthorn.ports.listing import Listed, ListQuery
from posthorn.ports.queue import Attempts, Route
from posthorn.ports.statistics import NO_TENANT, TRIED_DEFERRED, TRIED_DELIVERED, TRIED_REFUSED

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

_VERSIONED = "'route' AS id, {}updated_at"
_SHOWN = f"{', '.join(f'r.{column}' for column in COLUMNS)}, {_VERSIONED.format('r.')}, {MANAGER}, tried.*"
_JOIN = "LEFT JOIN managed_objects mo ON mo.route = r.domain"
# at most 36 rows, by the primary key: twelve slots, the last of which has just begun
_TRIED = f"""
CROSS JOIN LATERAL (
    SELECT coalesce(sum(messages) FILTER (WHERE outcome = '{TRIED_DELIVERED}'), 0)::bigint AS delivered,
           coalesce(sum(messages) FILTER (WHERE outcome = '{TRIED_DEFERRED}'), 0)::bigint AS deferred,
           coalesce(sum(messages) FILTER (WHERE outcome = '{TRIED_REFUSED}'), 0)::bigint AS refused
      FROM statistics
     WHERE tenant_id = '{NO_TENANT}' AND domain = r.domain AND hour > now() - interval '1 hour'
) AS tried
"""
_JOINS = f"{_JOIN} {_TRIED}"
_SELECT = f"SELECT {_SHOWN} FROM routes r {_JOINS}"

_LIST = Listing(
    "routes",
    "r",
    _SHOWN,
    _JOINS,
    orders={"domain": Order("r.domain")},
    searched=("r.domain", "coalesce(r.host, '')"),
)
_SENDING = f"SELECT {', '.join(COLUMNS)} FROM routes WHERE domain = $1"
_INSERT = f"INSERT INTO routes ({', '.join(COLUMNS)}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"

# xmax is 0 in a row just inserted, and the transaction's id in an updated one
_PUT = f"""
WITH r AS (
{_INSERT}
ON CONFLICT (domain) DO UPDATE SET host = excluded.host, port = excluded.port, tls = excluded.tls, username = excluded.username,
       password = excluded.password, connections = excluded.connections, messages_per_minute = excluded.messages_per_minute,
       updated_at = {MOVED.replace("updated_at", "routes.updated_at")}
RETURNING {", ".join(COLUMNS)}, updated_at, xmax = 0 AS created
)
SELECT {_SHOWN}, r.created FROM r {_JOINS}
"""
_FORMER = f"SELECT {', '.join(COLUMNS)}, {_VERSIONED.format('')} FROM routes WHERE domain = $1 FOR NO KEY UPDATE"
# its attempts go with it: a route that is made again begins at nothing
_DELETE = f"""
WITH r AS (DELETE FROM routes WHERE domain = $1 RETURNING {", ".join(COLUMNS)}),
forgotten AS (
    DELETE FROM statistics
     WHERE tenant_id = '{NO_TENANT}' AND domain = $1
       AND outcome IN ('{TRIED_DELIVERED}', '{TRIED_DEFERRED}', '{TRIED_REFUSED}')
)
SELECT r.*, {MANAGER} FROM r {_JOIN}
"""


class PostgresRoutes:
    """The port Routes over Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self, asked: ListQuery) -> Listed[Route]:
        """List by domain."""
        async with self._database.transaction() as connection:
            return await _LIST.page(connection, None, asked, _as_shown)

    async def get(self, domain: str) -> Route:
        async with self._database.session() as connection:
            row = await connection.fetchrow(f"{_SELECT} WHERE r.domain = $1", clean_text(domain))
        if row is None:
            raise NotFound(f"there is no route for {domain}")
        return _as_shown(row)

    async def create(self, route: Route, receipt: Receipt[Route] | None = None) -> Route:
        """Create the route of a domain that has none."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(
                f"{_INSERT} ON CONFLICT (domain) DO NOTHING RETURNING {_VERSIONED.format('')}",
                *_values(route),
            )
            if row is None:
                raise Conflict(f"a route for {route.domain} already exists; PUT replaces it")
            await _note(connection, route)
            route = replace(route, version=version_of(row))
            if receipt is not None:
                await keep_answer(connection, receipt.reservation, receipt.render(route))
        return route

    async def put(self, route: Route, expected: Versions = None) -> tuple[Route, bool]:
        """Set the route of a domain; return it and whether it is new."""
        async with self._database.transaction() as connection:
            before = await connection.fetchrow(_FORMER, clean_text(route.domain))
            if before is not None:
                check_version(before, expected)
            elif expected is not None:
                raise PreconditionFailed(f"there is no route for {route.domain} any more")
            row: Any = await connection.fetchrow(_PUT, *_values(route))
            if row["created"]:
                await mark_new(connection, "route", route.domain)
            note_manager(row)
            await _note(connection, route, before)
        return _as_shown(row), row["created"]

    async def delete(self, domain: str, expected: Versions = None) -> None:
        """Remove one. Raises NotFound."""
        async with self._database.transaction() as connection:
            before = await connection.fetchrow(_FORMER, clean_text(domain))
            if before is not None:
                check_version(before, expected)
            row = await connection.fetchrow(_DELETE, clean_text(domain))
            if row is None:
                raise NotFound(f"there is no route for {domain}")
            note_manager(row)
            await write_audit(connection, None, f"routes/{domain}", before=former(row, COLUMNS[1:]))


class PostgresSendingRoutes:
    """Routes for whoever sends by them: without the marks of managers, which the relay's role may
    not read (ADR 23)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, domain: str) -> Route:
        """Return one, with its encrypted password. Raises NotFound, Unavailable."""
        async with self._database.session() as connection:
            row = await connection.fetchrow(_SENDING, clean_text(domain))
        if row is None:
            raise NotFound(f"there is no route for {domain}")
        return as_route(row)


async def _note(connection: Connection, route: Route, before: Any = None) -> None:
    """Write the audit line: what differs from the route before, or what a new one sets."""
    held = dict.fromkeys(COLUMNS) if before is None else before
    details = {name: value for name in COLUMNS[1:] if (value := getattr(route, name)) != held[name]}
    replaced = {} if before is None else former(before, details)
    await write_audit(connection, None, f"routes/{route.domain}", details, before=replaced)


def _values(route: Route) -> tuple[Any, ...]:
    return tuple(getattr(route, name) for name in COLUMNS)


def as_route(row: Any) -> Route:
    """Return the route of a row that has its columns."""
    return Route(**{name: row[name] for name in COLUMNS})


def _as_shown(row: Any) -> Route:
    last_hour = Attempts(row["delivered"], row["deferred"], row["refused"])
    return replace(
        as_route(row),
        managed_by=managed_by(row),
        last_hour=last_hour,
        version=version_of(row),
    )
