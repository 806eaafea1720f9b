"""App passwords on Postgres: stored as SHA-256, which suffices for 256 random bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.access.audit import write_audit
from posthorn.adapters.postgres.access.idempotency import keep_answer
from posthorn.adapters.postgres.access.tenant_scope import Scoped, one
from posthorn.adapters.postgres.database import Connection, Database
from posthorn.ports.app_passwords import MOST_APP_PASSWORDS, AppPassword
from posthorn.ports.errors import Conflict, NotFound
from posthorn.ports.idempotency import Receipt

_ACCOUNT = Scoped(
    "SELECT a.id, d.tenant_id FROM accounts a JOIN domains d ON d.id = a.domain_id WHERE {visible} AND a.address = $2"
)
_COLUMNS = (
    "id, name, scopes, created_at, last_used_at, expires_at, coalesce(networks, '{}')::text[] AS networks,"
    " last_used_address, last_used_protocol"
)


class PostgresAppPasswords:
    """The port AppPasswords over Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self,
        tenant: UUID | None,
        address: str,
        made: AppPassword,
        key_hash: bytes,
        receipt: Receipt[AppPassword] | None = None,
    ) -> AppPassword:
        """Create one and return it as stored."""
        async with self._database.transaction() as connection:
            # concurrent creations count one after the other
            account, owner = await _account(connection, tenant, address, "FOR NO KEY UPDATE OF a")
            number = await connection.fetchval(
                "SELECT count(*) FROM app_passwords WHERE account_id = $1", account
            )
            if number >= MOST_APP_PASSWORDS:
                raise Conflict(f"there are already {number} app passwords; delete one first")
            row = await connection.fetchrow(
                "INSERT INTO app_passwords (id, account_id, name, key_hash, scopes, expires_at, networks)"
                f" VALUES ($1, $2, $3, $4, $5, $6, $7::text[]::cidr[]) RETURNING {_COLUMNS}",
                *(made.id, account, made.name, key_hash, list(made.scopes)),
                *(made.expires_at, list(made.networks) or None),
            )
            entered = _as_app_password(row)
            details: dict[str, object] = {
                "app_password": str(made.id),
                "name": made.name,
                "scopes": made.scopes,
            }
            if made.expires_at is not None:
                details["expires_at"] = made.expires_at
            if made.networks:
                details["networks"] = made.networks
            await write_audit(connection, owner, address, details)
            if receipt is not None:
                await keep_answer(connection, receipt.reservation, receipt.render(entered))
            return entered

    async def items(
        self, tenant: UUID | None, address: str, after: UUID | None, limit: int
    ) -> Sequence[AppPassword]:
        async with self._database.session() as connection:
            account, _ = await _account(connection, tenant, address)
            rows = await connection.fetch(
                f"SELECT {_COLUMNS} FROM app_passwords"
                " WHERE account_id = $1 AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3",
                *(account, after, limit),
            )
        return [_as_app_password(row) for row in rows]

    async def remove(self, tenant: UUID | None, address: str, number: UUID) -> None:
        """Delete one."""
        async with self._database.transaction() as connection:
            account, owner = await _account(connection, tenant, address)
            gone = await connection.fetchrow(
                "DELETE FROM app_passwords WHERE account_id = $1 AND id = $2 RETURNING name, scopes",
                *(account, number),
            )
            if gone is None:
                raise NotFound(f"there is no app password {number}")
            details = {"app_password": str(number)}
            await write_audit(connection, owner, address, details, before=dict(gone))


async def _account(
    connection: Connection, tenant: UUID | None, address: str, lock: str = ""
) -> tuple[int, UUID]:
    row = await one(connection, tenant, _ACCOUNT + lock, address)
    return row["id"], row["tenant_id"]


def _as_app_password(row: Any) -> AppPassword:
    return AppPassword(
        row["id"],
        row["name"],
        tuple(row["scopes"]),
        row["created_at"],
        row["last_used_at"],
        row["expires_at"],
        tuple(row["networks"]),
        row["last_used_address"],
        row["last_used_protocol"],
    )
