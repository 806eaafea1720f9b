"""The port TlsOutcomes on Postgres: counts of today, a bounded number for each destination."""

from __future__ import annotations

from collections.abc import Mapping

from posthorn.adapters.postgres.database import Database, clean_text
from posthorn.ports.reports import TlsOutcome

MOST_ROWS = 200

_ADD = f"""
WITH today AS MATERIALIZED (SELECT (now() AT TIME ZONE 'UTC')::date AS day)
INSERT INTO tls_outcomes AS t (day, domain, policy_type, result_type, receiving_host, sessions)
SELECT today.day, found.* FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[])
       AS found (domain, policy_type, result_type, receiving_host, sessions), today
 WHERE NOT EXISTS (SELECT FROM tls_outcomes f WHERE f.day = today.day AND f.domain = found.domain OFFSET {MOST_ROWS - 1})
    OR EXISTS (
        SELECT FROM tls_outcomes k
         WHERE k.day = today.day AND k.domain = found.domain AND k.policy_type = found.policy_type
           AND k.result_type = found.result_type AND k.receiving_host = found.receiving_host
    )
 ORDER BY found.domain, found.policy_type, found.result_type, found.receiving_host
ON CONFLICT ON CONSTRAINT tls_outcomes_pkey DO UPDATE SET sessions = t.sessions + excluded.sessions
"""


class PostgresTlsOutcomes:
    """The port TlsOutcomes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, counts: Mapping[TlsOutcome, int]) -> None:
        """Add to the counts of today."""
        rows = [
            (
                clean_text(each.domain),
                each.policy_type,
                each.result_type,
                clean_text(each.receiving_host)[:255],
                number,
            )
            for each, number in counts.items()
        ]
        async with self._database.session() as connection:
            await connection.execute(_ADD, *zip(*rows, strict=True))
