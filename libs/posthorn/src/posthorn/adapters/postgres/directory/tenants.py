"""Tenants on Postgres.

A tenant's row is locked FOR UPDATE while it is deleted; creating anything that it owns then waits
on the foreign key, so a check for owned objects is complete.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from enum import Enum
from typing import Any
from uuid import UUID

import asyncpg

from posthorn.adapters.postgres.access.audit import former, write_audit
from posthorn.adapters.postgres.access.idempotency import keep_answer
from posthorn.adapters.postgres.access.listing import Listing, Order
from posthorn.adapters.postgres.access.tenant_scope import (
    MOVED,
    NAMED_TENANT,
    Scoped,
    check_version,
    found,
    one,
    version_of,
)
from posthorn.adapters.postgres.database import Connection, Database
from posthorn.adapters.postgres.directory.outbox import lift_limits, write_aliases
from posthorn.adapters.postgres.mailboxes.quarantine import discard
from posthorn.ports.changes import Versions
from posthorn.ports.errors import Conflict, NotFound
from posthorn.ports.idempotency import Receipt
from posthorn.ports.listing import Listed, ListQuery
from posthorn.ports.tenants import Tenant, TenantRef, TenantRules, TenantState

_RULES = tuple(each.name for each in fields(TenantRules))
_SETTABLE = ("name", "state", *_RULES)
_COLUMNS = f"""
       t.id, t.name, t.state, {", ".join(f"t.{name}" for name in _RULES)}, t.created_at, t.updated_at,
       (SELECT count(*) FROM domains d WHERE d.tenant_id = t.id) AS domains,
       (SELECT count(*) FROM accounts a JOIN domains d ON d.id = a.domain_id WHERE d.tenant_id = t.id) AS accounts,
       (SELECT coalesce(sum(a.quota_bytes), 0)::bigint FROM accounts a JOIN domains d ON d.id = a.domain_id
         WHERE d.tenant_id = t.id) AS promised_bytes
"""
_TENANT = f"SELECT {_COLUMNS} FROM tenants t"
_FIND = Scoped(
    f"{_TENANT} WHERE {NAMED_TENANT} ORDER BY t.id::text = lower($2) DESC LIMIT 1", "t.id"
)
_STANDING = Scoped(
    f"SELECT t.id, t.name, t.state FROM tenants t WHERE {NAMED_TENANT} ORDER BY t.id::text = lower($2) DESC LIMIT 1",
    "t.id",
)
_LIST = Listing(
    "tenants",
    "t",
    _COLUMNS,
    orders={"name": Order("t.name"), "created": Order("t.created_at", datetime, "t.id", UUID)},
    searched=("t.name",),
    state="t.state",
    owner="t.id = {}",
)
_LOCK = Scoped(
    f"SELECT t.id, {', '.join(f't.{name}' for name in _SETTABLE)}, t.updated_at FROM tenants t"
    f" WHERE {NAMED_TENANT} ORDER BY t.id::text = lower($2) DESC LIMIT 1",
    "t.id",
)
_OWNED = (
    ("domain", "SELECT name FROM domains WHERE tenant_id = $1 ORDER BY name LIMIT 1"),
    ("API key", "SELECT name FROM api_keys WHERE tenant_id = $1 ORDER BY id LIMIT 1"),
    ("webhook", "SELECT url FROM webhooks WHERE tenant_id = $1 ORDER BY id LIMIT 1"),
    (
        "message in the queue to",
        "SELECT recipient FROM outbound_recipients WHERE tenant_id = $1 AND closed_at IS NULL LIMIT 1",
    ),
)


class PostgresTenants:
    """The port Tenants over Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self, number: UUID, name: str, rules: TenantRules, receipt: Receipt[Tenant] | None
    ) -> Tenant:
        """Make one."""
        columns = ("id", "name", *_RULES)
        places = ", ".join(f"${place}" for place in range(1, len(columns) + 1))
        values = {rule: getattr(rules, rule) for rule in _RULES}
        async with self._database.transaction() as connection:
            await _refuse_name_of_another(connection, number, name)
            made = await connection.fetchval(
                f"INSERT INTO tenants ({', '.join(columns)}) VALUES ({places})"
                " ON CONFLICT (name) DO NOTHING RETURNING id",
                *(number, name, *values.values()),
            )
            if made is None:
                raise Conflict(f"the tenant {name} already exists")
            tenant = _as_tenant(await one(connection, None, _FIND, str(number)))
            await write_audit(connection, number, name, values)
            if receipt is not None:
                await keep_answer(connection, receipt.reservation, receipt.render(tenant))
            return tenant

    async def items(self, tenant: UUID | None, asked: ListQuery) -> Listed[Tenant]:
        async with self._database.transaction() as connection:
            return await _LIST.page(connection, tenant, asked, _as_tenant)

    async def get(self, tenant: UUID | None, named: str) -> Tenant:
        """Return one by name or id."""
        async with self._database.session() as connection:
            return _as_tenant(await one(connection, tenant, _FIND, named))

    async def standing(self, named: str) -> TenantRef | None:
        """Return one, without counting what it owns."""
        async with self._database.session() as connection:
            rows = await found(connection, None, _STANDING, named)
        return (
            TenantRef(rows[0]["id"], rows[0]["name"], TenantState(rows[0]["state"]))
            if rows
            else None
        )

    async def change(
        self,
        tenant: UUID | None,
        named: str,
        changes: Mapping[str, object],
        expected: Versions = None,
    ) -> Tenant:
        """Set the fields that ``changes`` names."""
        async with self._database.transaction() as connection:
            row = await one(connection, tenant, _LOCK + "FOR NO KEY UPDATE OF t", named)
            check_version(row, expected)
            setting = [column for column in _SETTABLE if column in changes]
            if setting:
                if "name" in changes:
                    await _refuse_name_of_another(connection, row["id"], str(changes["name"]))
                places = ", ".join(
                    f"{column} = ${place}" for place, column in enumerate(setting, start=2)
                )
                try:
                    await connection.execute(
                        f"UPDATE tenants SET {places}, updated_at = {MOVED} WHERE id = $1",
                        row["id"],
                        *(_stored(changes[column]) for column in setting),
                    )
                except asyncpg.UniqueViolationError:
                    raise Conflict(f"the tenant {changes['name']} already exists") from None
                details = {name: changes[name] for name in setting}
                await write_audit(
                    connection, row["id"], row["name"], details, before=former(row, setting)
                )
                if "state" in changes:
                    await write_aliases(connection, row["id"])
                if "max_recipients_per_hour" in changes:
                    await lift_limits(connection, row["id"])
            return _as_tenant(await one(connection, tenant, _FIND, str(row["id"])))

    async def delete(self, tenant: UUID | None, named: str, expected: Versions = None) -> None:
        """Delete one that owns nothing."""
        async with self._database.transaction() as connection:
            row = await one(connection, tenant, _LOCK + "FOR UPDATE OF t", named)
            check_version(row, expected)
            for kind, query in _OWNED:
                held = await connection.fetchval(query, row["id"])
                if held is not None:
                    raise Conflict(
                        f"the tenant still has the {kind} {held}; delete what it owns first"
                    )
            await discard(connection, "tenant_id = $1", row["id"])
            await connection.execute("DELETE FROM suppressions WHERE tenant_id = $1", row["id"])
            await connection.execute("DELETE FROM statistics WHERE tenant_id = $1", row["id"])
            if (
                await connection.execute("DELETE FROM tenants WHERE id = $1", row["id"])
                == "DELETE 0"
            ):
                raise NotFound
            await write_audit(connection, row["id"], row["name"], before=former(row, _SETTABLE))


async def _refuse_name_of_another(connection: Connection, number: UUID, name: str) -> None:
    """Raise Conflict when the name is another tenant's id: an id must be unambiguous."""
    if await connection.fetchval(
        "SELECT true FROM tenants WHERE id::text = lower($1) AND id <> $2", name, number
    ):
        raise Conflict(f"the tenant {name} already exists")


def _stored(value: object) -> object:
    return value.value if isinstance(value, Enum) else value


def _as_tenant(row: Any) -> Tenant:
    names = ("id", "name", "domains", "accounts", "promised_bytes", "created_at", "updated_at")
    return Tenant(
        state=TenantState(row["state"]),
        rules=TenantRules(**{name: row[name] for name in _RULES}),
        version=version_of(row),
        **{name: row[name] for name in names},
    )
