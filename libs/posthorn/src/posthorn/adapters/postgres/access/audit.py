"""The audit log on Postgres."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.access.listing import Listing, Order
from posthorn.adapters.postgres.conditions import Conditions
from posthorn.adapters.postgres.database import Connection, Database, clean_text
from posthorn.ports.audit import AuditFilter, AuditLine
from posthorn.ports.listing import Listed, ListQuery
from posthorn.runtime.audit_context import audit_context

_COLUMNS = (
    "a.id, a.tenant_id, a.at, a.actor_id, a.actor_name, a.actor_role, a.action, a.object,"
    " a.details::text AS details, a.request_id"
)
_WIDTH = _COLUMNS.count(",") + 1
_WRITE = """
INSERT INTO audit (tenant_id, actor_id, actor_name, actor_role, action, object, details, request_id)
VALUES ($1, $2, $3, $4, $5, $6, $7::text::jsonb, $8)
"""
_LIST = Listing(
    "audit",
    "a",
    _COLUMNS,
    orders={"at": Order("a.id", int)},
    searched=("a.object", "a.actor_name", "a.action"),
    owner="a.tenant_id = {}",
    newest_first=True,
)
# ids go up with the time, which has no index
_FORGET = """
DELETE FROM audit WHERE id IN (SELECT id FROM audit ORDER BY id LIMIT $2) AND at < now() - make_interval(days => $1)
"""
_OWNER = "SELECT tenant_id FROM domains WHERE name = split_part($1, '@', -1)"
_SECRET = frozenset({"password", "password_hash", "secret"})
_BEFORE = "before"
"""The key of the details that holds the values that a change replaced."""


async def write_audit(
    connection: Connection,
    tenant: UUID | None,
    object_name: str,
    details: Mapping[str, object] | None = None,
    *,
    before: Mapping[str, object] | None = None,
) -> None:
    """Write the audit line of the current request in the transaction of its change. ``tenant``
    owns the object; ``before`` are the values that the change replaced or deleted (``former``)."""
    request = audit_context()
    if request is None:
        return
    shown = {
        name: "changed" if name in _SECRET else value for name, value in (details or {}).items()
    }
    if request.applying is not None:
        shown |= {"via": "config"}
        if request.applying.manager is not None:
            shown |= {"manager": request.applying.manager}
    if request.managed_by is not None:
        shown |= {"managed_by": request.managed_by}
    if before:
        shown[_BEFORE] = dict(before)
    await connection.execute(
        _WRITE,
        tenant,
        request.actor_id,
        request.actor_name,
        request.actor_role,
        request.action,
        object_name,
        json.dumps(shown, default=_plain),
        request.request_id,
    )
    request.is_written = True


def former(row: Any, names: Iterable[str]) -> dict[str, object]:
    """Return the values of a row, as it was read before a change, for the audit log; secrets and
    what the row does not have are left out."""
    return {name: row[name] for name in names if name in row and name not in _SECRET}


class PostgresAudit:
    """The port Audit over Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def items(
        self, tenant: UUID | None, which: AuditFilter, asked: ListQuery
    ) -> Listed[AuditLine]:
        """List newest first."""
        meant: dict[str, object] = {
            "(a.actor_id = {0} OR a.actor_name = {0})": which.actor,
            "(a.action = {0} OR starts_with(a.action, {0} || '.'))": which.action,
            "a.at >= {}": which.since,
            "a.at < {}": which.until,
        }
        filters = [(text, value) for text, value in meant.items() if value is not None]
        scope = Conditions()
        if which.subject is not None:
            scope.add("a.object = {}", clean_text(which.subject))
        async with self._database.transaction() as connection:
            return await _LIST.page(
                connection, tenant, asked, _as_line, scope=scope, filters=filters
            )

    async def record(
        self, tenant: UUID | None, object_name: str, details: Mapping[str, object]
    ) -> None:
        """Write the audit line of the current request, unless its transaction wrote one."""
        request = audit_context()
        if request is not None and not request.is_written:
            async with self._database.session() as connection:
                await write_audit(connection, tenant, object_name, details)

    async def record_content(self, address: str, details: Mapping[str, object]) -> None:
        """Record that the current request reads content for this account or alias."""
        async with self._database.session() as connection:
            owner = await connection.fetchval(_OWNER, address)
            await write_audit(connection, owner, address, details)

    async def forget(self, days: int, limit: int) -> int:
        """Delete some of the oldest lines."""
        async with self._database.session() as connection:
            gone: str = await connection.execute(_FORGET, days, limit)
        return int(gone.rpartition(" ")[2])


def _as_line(row: Any) -> AuditLine:
    values = list(row)[:_WIDTH]
    values[8] = details = json.loads(values[8])
    values.append(details.pop(_BEFORE, {}))
    return AuditLine(*values)


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID | IPv4Network | IPv6Network):
        return str(value)
    raise TypeError(f"a {type(value).__name__} cannot be written to the audit log")
