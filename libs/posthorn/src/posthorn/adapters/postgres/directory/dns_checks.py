"""The port DnsChecks on Postgres."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID, uuid4

from posthorn.adapters.postgres.access.audit import write_audit
from posthorn.adapters.postgres.access.tenant_scope import tenant_named
from posthorn.adapters.postgres.database import Database, clean_text
from posthorn.adapters.postgres.leader import Leadership
from posthorn.ports.dns_checks import DnsCheck, DnsState, RecordVerdict, StoredCheck

# the first due domain of each tenant, then its second: nobody's many domains delay the others'
_DUE = """
SELECT name FROM (
    SELECT d.name, c.due_at, row_number() OVER (PARTITION BY d.tenant_id ORDER BY c.due_at NULLS FIRST, d.id) AS turn
      FROM domains d LEFT JOIN dns_checks c ON c.domain_id = d.id
     WHERE c.due_at IS NULL OR c.due_at <= now()
) AS due ORDER BY turn, due_at NULLS FIRST, name LIMIT $1
"""
_LOCK = "SELECT id, tenant_id FROM domains WHERE name = $1 FOR NO KEY UPDATE"
_KNOWN = "SELECT known, checked_at FROM dns_checks WHERE domain_id = $1"
_STORE = """
INSERT INTO dns_checks AS c (domain_id, state, known, checked_at, due_at, records)
VALUES ($1, $2, nullif($2, 'unknown'), $3, now() + make_interval(secs => $4), $5::jsonb)
ON CONFLICT (domain_id) DO UPDATE
   SET state = excluded.state, known = coalesce(excluded.known, c.known), checked_at = excluded.checked_at,
       due_at = excluded.due_at, records = excluded.records
"""
_POSTPONE = """
INSERT INTO dns_checks AS c (domain_id, state, due_at, records)
SELECT id, 'unknown', now() + make_interval(secs => $2), '[]'::jsonb FROM domains WHERE name = $1
ON CONFLICT (domain_id) DO UPDATE SET due_at = excluded.due_at
"""
_MAKE_DUE = """
UPDATE dns_checks SET due_at = now() WHERE domain_id IN (
    SELECT c.domain_id FROM dns_checks c JOIN domains d ON d.id = c.domain_id
     WHERE ($1::uuid IS NULL OR d.tenant_id = $1) AND c.due_at > now()
       AND coalesce(c.checked_at < now() - make_interval(secs => $2), true)
     FOR NO KEY UPDATE OF c SKIP LOCKED
)
"""
_COUNT_DUE = """
SELECT d.tenant_id, count(*) AS domains FROM domains d LEFT JOIN dns_checks c ON c.domain_id = d.id
 WHERE ($1::uuid IS NULL OR d.tenant_id = $1) AND (c.due_at IS NULL OR c.due_at <= now())
 GROUP BY d.tenant_id ORDER BY d.tenant_id
"""
_COUNTS = """
SELECT CASE WHEN c.checked_at IS NULL THEN 'unchecked' ELSE c.state END AS state, count(*) AS number
  FROM domains d LEFT JOIN dns_checks c ON c.domain_id = d.id GROUP BY 1
"""


class PostgresDnsChecks:
    """DnsChecks over the process's pool. Each instance is a separate candidate for checking in the
    background."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._leadership = Leadership(database, "dns checks", uuid4())

    async def lead(self, seconds: float) -> bool:
        """See the port."""
        return await self._leadership.lead(seconds)

    async def due(self, limit: int) -> Sequence[str]:
        """See the port."""
        async with self._database.session() as connection:
            return [row["name"] for row in await connection.fetch(_DUE, limit)]

    async def store(self, domain: str, check: DnsCheck, again_seconds: float) -> StoredCheck | None:
        """See the port."""
        records = clean_text(json.dumps([asdict(each) for each in check.records]))
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(_LOCK, domain)
            if row is None:
                return None
            before = await connection.fetchrow(_KNOWN, row["id"])
            if before is not None and (before["checked_at"] or check.checked_at) > check.checked_at:
                return None
            await connection.execute(
                _STORE, row["id"], check.state.value, check.checked_at, again_seconds, records
            )
        known = before["known"] if before is not None else None
        return StoredCheck(row["tenant_id"], None if known is None else DnsState(known))

    async def postpone(self, domain: str, seconds: float) -> None:
        """See the port."""
        async with self._database.session() as connection:
            await connection.execute(_POSTPONE, domain, seconds)

    async def check_all(self, tenant: UUID | None, owner: str | None, least_seconds: float) -> int:
        """See the port."""
        async with self._database.transaction() as connection:
            whose = tenant if owner is None else await tenant_named(connection, tenant, owner)
            await connection.execute(_MAKE_DUE, whose, least_seconds)
            due = await connection.fetch(_COUNT_DUE, whose)
            for row in due:
                await write_audit(
                    connection, row["tenant_id"], "all domains", {"domains": row["domains"]}
                )
            return sum(row["domains"] for row in due)

    async def counts(self) -> Mapping[str, int]:
        """See the port."""
        async with self._database.session() as connection:
            return {row["state"]: row["number"] for row in await connection.fetch(_COUNTS)}


def as_check(row: Any) -> DnsCheck | None:
    """Return the check in a row of domains joined with ``dns_checks``; None: there is none."""
    if row["dns_checked_at"] is None:
        return None
    records = tuple(RecordVerdict(**each) for each in json.loads(row["dns_records"]))
    return DnsCheck(DnsState(row["dns_state"]), row["dns_checked_at"], records)
