"""API keys on Postgres."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.access.audit import write_audit
from posthorn.adapters.postgres.access.idempotency import keep_answer
from posthorn.adapters.postgres.access.listing import Listing, Order
from posthorn.adapters.postgres.access.tenant_scope import Scoped, hold_tenant, one, tenant_named
from posthorn.adapters.postgres.database import Database
from posthorn.ports.api_keys import MOST_KEYS, ApiKey, Role
from posthorn.ports.errors import Conflict, FieldError, NotFound, ValidationFailed
from posthorn.ports.idempotency import Receipt
from posthorn.ports.listing import Listed, ListQuery
from posthorn.runtime.ids import new_id

_BOOTSTRAP = "bootstrap"
_BOOTSTRAP_LOCK = 0x706F7374_0003

_COLUMNS = (
    "k.id, k.name, k.role, k.tenant_id, k.expires_at, k.created_at, k.last_used_at, t.name AS tenant,"
    " coalesce(k.networks, '{}')::text[] AS networks, k.last_used_address,"
    " coalesce(k.message_content, k.role IN ('platform-admin', 'tenant-admin')) AS message_content,"
    " coalesce(t.state = 'suspended', false) AS is_suspended"
)
_JOIN = "LEFT JOIN tenants t ON t.id = k.tenant_id"
KEY = f"SELECT {_COLUMNS} FROM api_keys k {_JOIN}"
_FIND = Scoped(f"{KEY} WHERE {{visible}} AND k.id = $2", "k.tenant_id")
_LIST = Listing(
    "api_keys",
    "k",
    _COLUMNS,
    _JOIN,
    orders={
        "created": Order("k.id", UUID),
        "name": Order("k.name", str, "k.id", UUID),
        "used": Order("coalesce(k.last_used_at, 'epoch')", datetime, "k.id", UUID),
    },
    searched=("k.name", "k.id::text"),
    state="CASE WHEN k.expires_at <= now() THEN 'expired' ELSE 'active' END",
    owner="k.tenant_id = {}",
)

# updated once a minute at most: a program that calls often must not write a row each time
_KNOWN = f"""
WITH noted AS (
    UPDATE api_keys SET last_used_at = now(), last_used_address = coalesce(nullif($2, ''), last_used_address)
     WHERE key_hash = $1 AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
)
{KEY} WHERE k.key_hash = $1
"""


class PostgresApiKeys:
    """The port ApiKeys over Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def by_hash(self, key_hash: bytes, client: str = "") -> ApiKey | None:
        """Return the key with this hash; record its use, at most once a minute."""
        async with self._database.session() as connection:
            row = await connection.fetchrow(_KNOWN, key_hash, client)
        return None if row is None else as_key(row)

    async def ensure_bootstrap(self, key_hash: bytes) -> None:
        """Make this the bootstrap key. Its id stays, and with it the answers stored for it."""
        async with self._database.transaction() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _BOOTSTRAP_LOCK)
            changed = await connection.execute(
                # the oldest: an administrator's own key may have that name too
                "UPDATE api_keys SET key_hash = $2 WHERE id = ("
                "SELECT id FROM api_keys WHERE name = $1 AND tenant_id IS NULL AND role = 'platform-admin'"
                " AND expires_at IS NULL ORDER BY created_at, id LIMIT 1)",
                _BOOTSTRAP,
                key_hash,
            )
            if changed == "UPDATE 0":
                await connection.execute(
                    "INSERT INTO api_keys (id, name, role, key_hash) VALUES ($1, $2, 'platform-admin', $3)",
                    new_id(),
                    _BOOTSTRAP,
                    key_hash,
                )

    async def create(
        self,
        tenant: UUID | None,
        made: ApiKey,
        owner: str | None,
        key_hash: bytes,
        receipt: Receipt[ApiKey] | None = None,
    ) -> ApiKey:
        """Create a key and return it as stored."""
        async with self._database.transaction() as connection:
            mine = tenant if owner is None else await tenant_named(connection, tenant, owner)
            if mine is None and made.role is Role.TENANT_ADMIN:
                raise ValidationFailed(
                    FieldError("tenant", "a key of a tenant-admin needs a tenant")
                )
            if mine is not None and made.role is Role.PLATFORM_ADMIN:
                raise ValidationFailed(
                    FieldError("tenant", "a key of a platform-admin must not have a tenant")
                )
            if mine is not None:  # concurrent creations count one after the other
                await hold_tenant(connection, mine)
                number = await connection.fetchval(
                    "SELECT count(*) FROM api_keys WHERE tenant_id = $1", mine
                )
                if number >= MOST_KEYS:
                    raise Conflict(f"there are already {number} API keys; delete one first")
            await connection.execute(
                "INSERT INTO api_keys (id, tenant_id, name, role, key_hash, expires_at, message_content, networks)"
                " VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text[]::cidr[])",
                *(
                    made.id,
                    mine,
                    made.name,
                    made.role.value,
                    key_hash,
                    made.expires_at,
                    made.message_content,
                    list(made.networks) or None,
                ),
            )
            entered = as_key(await one(connection, tenant, _FIND, made.id))
            details = {"name": made.name, "role": made.role, "expires_at": made.expires_at}
            details["message_content"] = made.message_content
            if made.networks:
                details["networks"] = made.networks
            await write_audit(connection, mine, str(made.id), details)
            if receipt is not None:
                await keep_answer(connection, receipt.reservation, receipt.render(entered))
            return entered

    async def items(self, tenant: UUID | None, asked: ListQuery) -> Listed[ApiKey]:
        async with self._database.transaction() as connection:
            return await _LIST.page(connection, tenant, asked, as_key)

    async def get(self, tenant: UUID | None, number: UUID) -> ApiKey:
        """Return one."""
        async with self._database.session() as connection:
            return as_key(await one(connection, tenant, _FIND, number))

    async def delete(self, tenant: UUID | None, number: UUID) -> None:
        """Delete one."""
        async with self._database.transaction() as connection:
            row = await one(connection, tenant, _FIND + "FOR UPDATE OF k", number)
            if (
                await connection.execute("DELETE FROM api_keys WHERE id = $1", row["id"])
                == "DELETE 0"
            ):
                raise NotFound
            await write_audit(
                connection,
                row["tenant_id"],
                str(number),
                {"name": row["name"], "role": row["role"]},
            )


def as_key(row: Any) -> ApiKey:
    """Return the key in a row of ``KEY``."""
    return ApiKey(
        id=row["id"],
        name=row["name"],
        role=Role(row["role"]),
        tenant=row["tenant_id"],
        expires_at=row["expires_at"],
        is_suspended=row["is_suspended"],
        created_at=row["created_at"],
        last_used_at=row["last_used_at"],
        tenant_name=row["tenant"],
        message_content=row["message_content"],
        networks=tuple(row["networks"]),
        last_used_address=row["last_used_address"],
    )
