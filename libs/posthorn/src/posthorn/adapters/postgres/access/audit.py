"""The audit log on Postgres."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.access.tenant_scope import Scoped, found
from posthorn.adapters.postgres.database import Connection, Database
from posthorn.ports.audit import AuditFilter, AuditLine
from posthorn.runtime.audit_context import audit_context

_COLUMNS = "id, tenant_id, at, actor_id, actor_name, actor_role, action, object, details::text AS details, request_id"
_WRITE = """
INSERT INTO audit (tenant_id, actor_id, actor_name, actor_role, action, object, details, request_id)
VALUES ($1, $2, $3, $4, $5, $6, $7::text::jsonb, $8)
"""
_SELECT = Scoped(
    f"""
    SELECT {_COLUMNS} FROM audit a
     WHERE {{visible}} AND ($2::bigint IS NULL OR id < $2)
       AND ($3::text IS NULL OR actor_id = $3 OR actor_name = $3)
       AND ($4::text IS NULL OR action = $4 OR starts_with(action, $4 || '.'))
       AND ($5::text IS NULL OR object = $5)
       AND ($6::timestamptz IS NULL OR at >= $6) AND ($7::timestamptz IS NULL OR at < $7)
     ORDER BY id DESC LIMIT $8
    """,
    "a.tenant_id",
)
_OWNER = "SELECT tenant_id FROM domains WHERE name = split_part($1, '@', -1)"
_SECRET = frozenset({"password", "password_hash", "secret"})


async def write_audit(
    connection: Connection,
    tenant: UUID | None,
    object_name: str,
    details: Mapping[str, object] | None = None,
) -> None:
    """Write the audit line of the current request in the transaction of its change. ``tenant``
    owns the object."""
    request = audit_context()
    if request is None:
        return
    shown = {
        name: "changed" if name in _SECRET else value for name, value in (details or {}).items()
    }
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


class PostgresAudit:
    """The port Audit over Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def items(
        self, tenant: UUID | None, which: AuditFilter, before: int | None, limit: int
    ) -> Sequence[AuditLine]:
        """List newest first."""
        values = (before, which.actor, which.action, which.subject, which.since, which.until, limit)
        async with self._database.session() as connection:
            rows = await found(connection, tenant, _SELECT, *values)
        return [_as_line(row) for row in rows]

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


def _as_line(row: Any) -> AuditLine:
    values = list(row)
    values[8] = json.loads(values[8])
    return AuditLine(*values)


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID | IPv4Network | IPv6Network):
        return str(value)
    raise TypeError(f"a {type(value).__name__} cannot be written to the audit log")
