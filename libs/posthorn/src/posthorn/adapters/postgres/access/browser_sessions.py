"""The port BrowserSessions on Postgres."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg

from posthorn.adapters.postgres.access.api_keys import KEY, as_key
from posthorn.adapters.postgres.access.audit import write_audit
from posthorn.adapters.postgres.access.password_rehashes import UNCHANGED
from posthorn.adapters.postgres.database import Database
from posthorn.ports.api_keys import ApiKey, Role
from posthorn.ports.browser_sessions import (
    IDLE_SECONDS,
    LINK_SECONDS,
    LONGEST_SECONDS,
    MAX_LINKS,
    MAX_SESSIONS,
)
from posthorn.ports.errors import NotFound
from posthorn.runtime.ids import new_id

_CREATE = """
INSERT INTO browser_sessions
       (id, token_hash, owner, api_key_id, account_id, password, tenant_id, name, role, message_content, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, now() + make_interval(secs => $11))
"""
_LIMIT = """
DELETE FROM browser_sessions WHERE id IN (
    SELECT id FROM browser_sessions WHERE owner = $1 ORDER BY created_at DESC, id DESC OFFSET $2
)
"""
_IN_FORCE = f"expires_at > now() AND seen_at > now() - interval '{IDLE_SECONDS} seconds'"
# used once a minute at most: a page that polls must not write a row each time
_FIND = f"""
WITH noted AS (
    UPDATE browser_sessions SET seen_at = now()
     WHERE token_hash = $1 AND {_IN_FORCE} AND seen_at < now() - interval '1 minute'
)
SELECT s.*, a.address, coalesce(t.name, ta.name) AS tenant, coalesce(t.id, ta.id) AS tenant_number,
       coalesce(nullif(a.allowed_networks, '{{}}'), d.allowed_networks, '{{}}')::text[] AS networks,
       coalesce(a.state = 'suspended', false) AS account_suspended,
       coalesce(t.state, ta.state) = 'suspended' AS tenant_suspended
  FROM browser_sessions s
  LEFT JOIN tenants t ON t.id = s.tenant_id
  LEFT JOIN accounts a ON a.id = s.account_id
  LEFT JOIN domains d ON d.id = a.domain_id
  LEFT JOIN tenants ta ON ta.id = d.tenant_id
 WHERE s.token_hash = $1 AND {_IN_FORCE}
   AND (s.account_id IS NULL OR {UNCHANGED.format(account="a", proof="s.password")})
"""
_END_ALL = """
DELETE FROM browser_sessions WHERE name = $1 AND api_key_id IS NULL AND account_id IS NULL
"""
_KEY_BY_ID = f"{KEY} WHERE k.id = $1"
_LINK = f"""
INSERT INTO login_links (token_hash, api_key_id, expires_at)
VALUES ($1, $2, now() + interval '{LINK_SECONDS} seconds')
"""
_LIMIT_LINKS = """
DELETE FROM login_links WHERE token_hash IN (
    SELECT token_hash FROM login_links WHERE api_key_id = $1 ORDER BY expires_at DESC OFFSET $2
)
"""
_USE_LINK = "DELETE FROM login_links WHERE token_hash = $1 RETURNING api_key_id, expires_at > now()"


class PostgresBrowserSessions:
    """See the port."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self,
        token_hash: bytes,
        caller: ApiKey,
        password: bytes = b"",
        seconds: float = LONGEST_SECONDS,
    ) -> ApiKey:
        """Begin a session."""
        is_key = not caller.is_token and caller.account_id is None
        values = (
            new_id(),
            token_hash,
            caller.id,
            caller.id if is_key else None,
            caller.account_id,
            password or None,
            caller.tenant if caller.is_token else None,
            *((caller.name, caller.role.value, caller.message_content) if caller.is_token else ()),
            *(() if caller.is_token else (None, None, None)),
            seconds,
        )
        try:
            async with self._database.transaction() as connection:
                await connection.execute(_CREATE, *values)
                await connection.execute(_LIMIT, caller.id, MAX_SESSIONS)
        except asyncpg.ForeignKeyViolationError:
            raise NotFound("the key or the account has been deleted") from None
        found = await self.find(token_hash)
        if found is None:
            raise NotFound("the key or the account has changed")
        return found

    async def find(self, token_hash: bytes) -> ApiKey | None:
        """Return the caller of a session."""
        async with self._database.session() as connection:
            row = await connection.fetchrow(_FIND, token_hash)
            if row is None:
                return None
            if row["api_key_id"] is None:
                return _as_caller(row)
            key = await connection.fetchrow(_KEY_BY_ID, row["api_key_id"])
        if key is None:
            return None
        caller, end = as_key(key), row["expires_at"]
        return replace(caller, expires_at=min(caller.expires_at or end, end))

    async def end(self, token_hash: bytes) -> None:
        """End a session."""
        async with self._database.session() as connection:
            await connection.execute(
                "DELETE FROM browser_sessions WHERE token_hash = $1", token_hash
            )

    async def end_all(self, name: str) -> int:
        """End the sessions of a holder of tokens."""
        async with self._database.transaction() as connection:
            gone: str = await connection.execute(_END_ALL, name)
            ended = int(gone.rpartition(" ")[2])
            await write_audit(connection, None, name, {"sessions": ended})
        return ended

    async def create_link(self, token_hash: bytes, api_key: UUID) -> None:
        """Store a link."""
        async with self._database.transaction() as connection:
            await connection.execute(_LINK, token_hash, api_key)
            await connection.execute(_LIMIT_LINKS, api_key, MAX_LINKS)

    async def use_link(self, token_hash: bytes) -> ApiKey | None:
        """Use up a link."""
        async with self._database.session() as connection:
            link = await connection.fetchrow(_USE_LINK, token_hash)
            if link is None or not link[1]:
                return None
            key = await connection.fetchrow(_KEY_BY_ID, link[0])
        if key is None:
            return None
        found = as_key(key)
        if found.expires_at is not None and found.expires_at <= datetime.now(UTC):
            return None
        return found

    async def expire(self) -> int:
        """Delete what has ended."""
        async with self._database.session() as connection:
            await connection.execute("DELETE FROM login_links WHERE expires_at <= now()")
            gone = await connection.execute(f"DELETE FROM browser_sessions WHERE NOT ({_IN_FORCE})")
        return int(gone.rpartition(" ")[2])


def _as_caller(row: Any) -> ApiKey:
    is_account = row["account_id"] is not None
    return ApiKey(
        row["owner"],
        row["address"] if is_account else row["name"],
        Role.ACCOUNT if is_account else Role(row["role"]),
        row["tenant_number"],
        expires_at=row["expires_at"],
        is_suspended=bool(row["account_suspended"] or row["tenant_suspended"]),
        created_at=row["created_at"],
        tenant_name=row["tenant"],
        message_content=bool(row["message_content"]),
        account=row["address"],
        account_id=row["account_id"],
        is_token=not is_account,
        networks=tuple(row["networks"]),
    )
