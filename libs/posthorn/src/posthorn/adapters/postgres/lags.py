"""The port StoredLags on Postgres: one statement, by the ends of indexes."""

from __future__ import annotations

from datetime import datetime

from posthorn.adapters.postgres.database import Database
from posthorn.ports.statistics import NO_TENANT
from posthorn.ports.system import Lags

_LAGS = """
SELECT (SELECT version_num FROM alembic_version) AS schema,
       coalesce((SELECT extract(epoch FROM now() - created_at)::float8 FROM directory_outbox ORDER BY id LIMIT 1), 0) AS directory,
       coalesce((SELECT extract(epoch FROM now() - d.due_at)::float8
                   FROM webhook_deliveries d JOIN webhooks w ON w.id = d.webhook_id
                  WHERE d.state = 'waiting' AND d.due_at <= now() AND w.state <> 'paused'
                  ORDER BY d.due_at LIMIT 1), 0) AS webhooks
"""

_READ = """
SELECT max(messages) AS most, min(messages) AS least FROM statistics
 WHERE tenant_id = $1 AND domain = '' AND hour = $2 AND (outcome = 'place' OR outcome LIKE 'place/%')
"""
_SHARE_BEHIND = 2000
"""Messages by which a share without events may be behind the others (ADR 41)."""


class PostgresLags:
    """StoredLags over the process's pool."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def lags(self) -> Lags:
        """See the port."""
        async with self._database.session() as connection:
            row = await connection.fetchrow(_LAGS)
        assert row is not None
        return Lags(str(row["schema"]), max(row["directory"], 0.0), max(row["webhooks"], 0.0))

    async def events_read(self, stream: datetime) -> int:
        """See the port."""
        async with self._database.session() as connection:
            row = await connection.fetchrow(_READ, NO_TENANT, stream)
        if row is None or row["most"] is None:
            return 0
        most, least = int(row["most"]), int(row["least"])
        return least if most - least > _SHARE_BEHIND else most
