"""The port Suppressions on Postgres: addresses that get no mail from a tenant. The queue adds
those that bounced permanently."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from posthorn.adapters.postgres.access.audit import write_audit
from posthorn.adapters.postgres.access.listing import Listing, Order
from posthorn.adapters.postgres.conditions import Conditions
from posthorn.adapters.postgres.database import Database, clean_text
from posthorn.adapters.postgres.schema import DEFAULT_TENANT
from posthorn.ports.errors import Conflict, NotFound
from posthorn.ports.listing import Listed, ListQuery
from posthorn.ports.sending import MOST_SUPPRESSIONS, Suppression

_SOURCE = "CASE WHEN complaint_id IS NULL THEN source ELSE 'complaint' END AS source"
_COLUMNS = f"address, reason, {_SOURCE}, message_id, created_at"
_SELECT = f"SELECT {_COLUMNS} FROM suppressions WHERE tenant_id = $1"
_LIST = Listing(
    "suppressions",
    "s",
    _COLUMNS,
    orders={
        "address": Order("s.address"),
        "created": Order("s.created_at", datetime, "s.address"),
    },
    searched=("s.address", "s.reason"),
    owner="s.tenant_id = {}",
    otherwise=DEFAULT_TENANT,
)

_ADD = """
INSERT INTO suppressions (tenant_id, address, reason, source)
SELECT $1, $2, $3, 'api' WHERE (SELECT count(*) FROM suppressions WHERE tenant_id = $1) < $4
ON CONFLICT DO NOTHING
RETURNING address, reason, source, message_id, created_at
"""
_COUNT = "SELECT count(*) FROM suppressions WHERE tenant_id = $1"
# those set by hand stay longest; bounces and complaints are entered without being counted
_PRUNE = """
DELETE FROM suppressions WHERE ctid = ANY (ARRAY(
    SELECT s.ctid
      FROM (SELECT tenant_id, count(*) - $1 AS beyond FROM suppressions GROUP BY 1 HAVING count(*) > $1) AS full_list
      CROSS JOIN LATERAL (
          SELECT ctid FROM suppressions
           WHERE tenant_id = full_list.tenant_id
           ORDER BY source = 'api' AND complaint_id IS NULL, created_at, address LIMIT full_list.beyond
      ) AS s
))
"""


class PostgresSuppressions:
    """The port Suppressions over Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, tenant: UUID | None, address: str, reason: str) -> tuple[Suppression, bool]:
        """Add an address to the list; an existing entry is unchanged. Raises NotFound without
        the tenant, Conflict for a full list."""
        owner, address, reason = tenant or DEFAULT_TENANT, clean_text(address), clean_text(reason)
        async with self._database.transaction() as connection:
            while True:
                try:
                    made = await connection.fetchrow(
                        _ADD, owner, address, reason, MOST_SUPPRESSIONS
                    )
                except asyncpg.ForeignKeyViolationError:
                    raise NotFound("there is no such tenant") from None
                if made is not None:
                    await write_audit(connection, owner, address, {"reason": reason})
                    return _as_suppression(made), True
                found = await connection.fetchrow(f"{_SELECT} AND address = $2", owner, address)
                if found is not None:
                    return _as_suppression(found), False
                # otherwise the list is full, or the entry was removed between the two statements
                if (held := await connection.fetchval(_COUNT, owner)) >= MOST_SUPPRESSIONS:
                    raise Conflict(f"there are already {held} suppressions; delete some first")

    async def items(
        self, tenant: UUID | None, asked: ListQuery, domain: str | None = None
    ) -> Listed[Suppression]:
        # the expression is that of suppressions_domain_idx
        scope = Conditions()
        if domain is not None:
            scope.add("split_part(s.address, '@', -1) = {}", clean_text(domain))
        async with self._database.transaction() as connection:
            return await _LIST.page(connection, tenant, asked, _as_suppression, scope=scope)

    async def prune(self) -> int:
        """Delete what full lists have beyond their bound."""
        async with self._database.session() as connection:
            gone: str = await connection.execute(_PRUNE, MOST_SUPPRESSIONS)
        return int(gone.rpartition(" ")[2])

    async def remove(self, tenant: UUID | None, address: str) -> None:
        owner = tenant or DEFAULT_TENANT
        async with self._database.transaction() as connection:
            query = "DELETE FROM suppressions WHERE tenant_id = $1 AND address = $2 RETURNING reason, source"
            gone = await connection.fetchrow(query, owner, clean_text(address))
            if gone is None:
                raise NotFound(f"{address} is not on the list")
            await write_audit(connection, owner, address, before=dict(gone))


def _as_suppression(row: Any) -> Suppression:
    return Suppression(
        row["address"], row["reason"], row["source"], row["message_id"], row["created_at"]
    )
