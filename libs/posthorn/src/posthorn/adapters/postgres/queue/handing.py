"""Hand-overs in the queue: the claim that delivery makes for a relay, and what the relay reads of
it.

Theory:

- The claim is the statement of every claim (``claim``), in the transaction that queues the message,
  after its rows and before the destinations, as the order of locks demands.
- The next hop's row is locked as for any slot, but nobody is waited for: where it is locked or has
  failed, or is not there yet, the message goes the usual way.
- What is claimed may be older than the message that was just queued.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from posthorn.adapters.postgres.database import Connection, Database
from posthorn.adapters.postgres.queue.claim import (
    JOB_COLUMNS,
    JOB_SOURCES,
    NEXT_HOP,
    TAKE_AND_SLOT,
    as_job,
)
from posthorn.adapters.postgres.queue.claimed import HELD
from posthorn.adapters.postgres.queue.routes import COLUMNS, as_route
from posthorn.ports.hand_over import Handed, HandOver
from posthorn.ports.queue import TRANSACTION_RECIPIENTS, Due, Job

HANDED_RECIPIENTS = 5
"""Recipients of one hand-over, beside the others of their messages."""

# the password of a route is for the relay alone
_LOCK_NEXT_HOP = f"""
WITH route AS MATERIALIZED (
    SELECT {NEXT_HOP} AS lane, r.connections, r.messages_per_minute FROM routes r
     WHERE r.domain = ANY (ARRAY[$1, '*']) ORDER BY r.domain = '*' LIMIT 1
)
SELECT l.key, (SELECT connections FROM route) AS connections,
       (SELECT messages_per_minute FROM route) AS per_minute
  FROM outbound_lanes l
 WHERE l.key = coalesce((SELECT lane FROM route), $1) AND l.failures = 0
   FOR NO KEY UPDATE OF l SKIP LOCKED
"""

# $1 relay, $2 slot, $3 destination, $4 jobs
_CLAIMED = f"""
SELECT job.*, route.* FROM (
    SELECT {", ".join(f"r.{name} AS route_{name}" for name in COLUMNS)}
      FROM (VALUES (1)) AS one
      LEFT JOIN (
          SELECT * FROM routes WHERE domain = ANY (ARRAY[$3, '*']) ORDER BY domain = '*' LIMIT 1
      ) AS r ON true
) AS route
LEFT JOIN (
    SELECT {JOB_COLUMNS} FROM outbound_recipients taken {JOB_SOURCES}
     WHERE taken.id = ANY ($4::bigint[]) AND {HELD.format("taken")} AND taken.destination = $3
       AND EXISTS (SELECT FROM outbound_slots WHERE id = $2 AND relay = $1)
) AS job ON true
 ORDER BY job.id
"""


async def hand_over(connection: Connection, over: HandOver) -> None:
    """Claim for the relay; fills in what was claimed, if anything was."""
    relay = over.relay
    found = await connection.fetchrow(_LOCK_NEXT_HOP, over.destination)
    if found is None:
        return
    slot = uuid4()
    rows: list[Any] = await connection.fetch(
        TAKE_AND_SLOT,
        relay.id,
        over.destination,
        HANDED_RECIPIENTS,
        found["key"],
        slot,
        found["connections"] or relay.connections,
        found["per_minute"] or relay.per_minute,
        TRANSACTION_RECIPIENTS,
    )
    if rows[0]["id"] is not None:
        over.slot, over.jobs = slot, [row["id"] for row in rows]
        over.messages = {row["message_id"] for row in rows}


class PostgresHandedClaims:
    """The port HandedClaims."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claimed(self, handed: Handed) -> tuple[Due, Sequence[Job]]:
        """See the port."""
        async with self._database.session() as connection:
            rows: list[Any] = await connection.fetch(
                _CLAIMED, handed.relay, handed.slot, handed.destination, list(handed.jobs)
            )
        first = rows[0]
        route = None
        if first["route_domain"] is not None:
            route = as_route({name: first[f"route_{name}"] for name in COLUMNS})
        jobs = [as_job(row) for row in rows if row["id"] is not None]
        return Due(handed.destination, route), jobs

    async def slots(self, relay: UUID) -> set[UUID]:
        """See the port."""
        async with self._database.session() as connection:
            rows = await connection.fetch("SELECT id FROM outbound_slots WHERE relay = $1", relay)
        return {row["id"] for row in rows}
