"""The port PolicyStore on Postgres: fetched MTA-STS policies, one row per domain."""

from __future__ import annotations

from datetime import UTC, datetime

from posthorn.adapters.postgres.database import Database
from posthorn.ports.mta_sts import StoredPolicy
from posthorn.wire.mta_sts import Mode

_LOAD = (
    "SELECT policy_id, mode, hosts, fetched_at, expires_at FROM mta_sts_policies WHERE domain = $1"
)

_SAVE = """
INSERT INTO mta_sts_policies AS p (domain, policy_id, mode, hosts, fetched_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (domain) DO UPDATE SET policy_id = excluded.policy_id, mode = excluded.mode, hosts = excluded.hosts,
       fetched_at = excluded.fetched_at, expires_at = excluded.expires_at
 WHERE p.fetched_at <= excluded.fetched_at
"""


class PostgresPolicies:
    """Policies of all domains that relays have sent to."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self, domain: str) -> StoredPolicy | None:
        """Return what was last saved for a domain."""
        async with self._database.session() as connection:
            row = await connection.fetchrow(_LOAD, domain)
        if row is None:
            return None
        return StoredPolicy(
            row["policy_id"],
            Mode(row["mode"]),
            tuple(row["hosts"]),
            row["fetched_at"].timestamp(),
            row["expires_at"].timestamp(),
        )

    async def save(self, domain: str, stored: StoredPolicy) -> None:
        """Store a policy."""
        async with self._database.session() as connection:
            await connection.execute(
                _SAVE,
                domain,
                stored.policy_id,
                stored.mode.value,
                list(stored.hosts),
                datetime.fromtimestamp(stored.fetched_at, UTC),
                datetime.fromtimestamp(stored.expires_at, UTC),
            )
