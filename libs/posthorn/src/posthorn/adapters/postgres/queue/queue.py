"""The port Queue on Postgres: heartbeats of relays, next hops, and the upkeep of the queue.

Theory:

- Claims are in ``claim``, outcomes in ``recording``, DSNs in ``dsns``, what follows from changed rows in ``closing``.
- A relay is dead once it is reaped, and never lives again under that id; until then it may still
  send a heartbeat. What is held by a relay nobody knows, or that is reaped, is queued again by the
  next reaping: so a claim that overlaps with it is not lost.
- Statements that change several rows lock them first, by id, whatever the planner makes of the
  change itself; see ``tables`` for the order of locks.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.database import Database, clean_text
from posthorn.adapters.postgres.queue import claim as queue_claim
from posthorn.adapters.postgres.queue import recording, suspensions
from posthorn.adapters.postgres.queue.claimed import dead_holders, release, unclaimed
from posthorn.adapters.postgres.queue.closing import release_bodies
from posthorn.adapters.postgres.queue.dsns import DsnQueue
from posthorn.ports.queue import (
    ALIVE_SECONDS,
    EXPIRED,
    Claim,
    Due,
    Expired,
    Outcome,
    PendingDsn,
    Swept,
)

COUNTED = 10_000
"""Recipients of one state that are counted; of more than these the number is estimated."""

_ALIVE = """
INSERT INTO relays (id, alive_until, claims_apart) VALUES ($1, clock_timestamp() + make_interval(secs => $2), true)
ON CONFLICT (id) DO UPDATE SET alive_until = excluded.alive_until WHERE relays.buried_at IS NULL
RETURNING true
"""
_LEAVE = "UPDATE relays SET buried_at = now() WHERE id = $1 AND buried_at IS NULL"
_REAP = "UPDATE relays SET buried_at = now() WHERE buried_at IS NULL AND alive_until < now()"
_FREE_SLOTS = """
DELETE FROM outbound_slots s WHERE NOT EXISTS (SELECT FROM relays a WHERE a.id = s.relay AND a.buried_at IS NULL)
"""
_CLOSE_NEXT_HOP = """
INSERT INTO outbound_lanes AS l (key, failures, closed_until, last_host, last_reply)
VALUES ($1, 1, clock_timestamp() + make_interval(secs => $2), $3, $4)
ON CONFLICT (key) DO UPDATE
   SET failures = l.failures + CASE WHEN l.closed_until > clock_timestamp() THEN 0 ELSE 1 END,
       closed_until = greatest(l.closed_until, clock_timestamp() + make_interval(secs => $2)),
       last_host = excluded.last_host, last_reply = excluded.last_reply
RETURNING failures
"""
_OPEN_NEXT_HOP = """
UPDATE outbound_lanes SET failures = 0, closed_until = '-infinity', last_host = '', last_reply = ''
 WHERE key = $1 AND (failures > 0 OR closed_until > '-infinity')
"""

# NOTIFY (RFC 3461): 0 unsaid, which stands for FAILURE and DELAY; 4 FAILURE; 8 DELAY. A row that
# expires while its delay notice is still to be told is left for a minute: never both at a time.
_FIND_LATE = f"""
SELECT r.id FROM outbound_recipients r
 WHERE r.state IN ('queued', 'deferred') AND r.closed_at IS NULL AND r.overdue_at <= now() AND {unclaimed("r")}
 ORDER BY r.overdue_at LIMIT $1 FOR NO KEY UPDATE OF r SKIP LOCKED
"""
_SWEEP = f"""
WITH late AS MATERIALIZED (
    SELECT r.id, r.expires_at <= now() AS over, r.notice, r.sender, r.notify
      FROM outbound_recipients r WHERE r.id = ANY ($2::bigint[]) AND {unclaimed("r")}
), judged AS MATERIALIZED (
    SELECT id, over AND notice IS NULL AS ended, over AND notice IS NOT NULL AS waits,
           CASE WHEN sender = '' OR notice IS NOT NULL THEN NULL
                WHEN over THEN CASE WHEN notify = 0 OR notify & 4 > 0 THEN 'failed' END
                WHEN $1 AND (notify = 0 OR notify & 8 > 0) THEN 'delayed' END AS notice
      FROM late
)
UPDATE outbound_recipients r
   SET state = CASE WHEN j.ended THEN 'bounced' ELSE r.state END,
       overdue_at = CASE WHEN j.ended THEN r.overdue_at WHEN j.waits THEN now() + interval '1 minute' ELSE r.expires_at END,
       last_status = CASE WHEN j.ended THEN '{EXPIRED}' ELSE r.last_status END,
       last_reply = CASE WHEN j.ended AND r.last_reply = '' THEN 'its time was over before it could be tried' ELSE r.last_reply END,
       notice = coalesce(j.notice, r.notice),
       closed_at = CASE WHEN j.ended AND j.notice IS NULL THEN now() END
  FROM judged j
 WHERE r.id = j.id AND r.id = ANY (ARRAY (SELECT id FROM late))
RETURNING r.message_id, r.closed_at IS NOT NULL AS closed, j.ended, j.ended OR j.notice IS NOT NULL AS counts,
          r.recipient, r.original, r.last_host, r.last_reply
"""

_OLD = """
SELECT id, message_id, destination FROM outbound_recipients WHERE closed_at < now() - make_interval(secs => $1)
 ORDER BY closed_at LIMIT $2 FOR UPDATE SKIP LOCKED
"""
# Two purges of one message's rows wait for each other here, so that the second sees that nothing is
# left.
_LOCK_OLD_MESSAGES = """
SELECT FROM outbound_messages WHERE message_id = ANY ($1::uuid[]) ORDER BY message_id FOR UPDATE
"""
_FORGET = "DELETE FROM outbound_recipients WHERE id = ANY ($1::bigint[])"
_FORGET_MESSAGES = """
DELETE FROM outbound_messages o WHERE o.message_id = ANY ($1::uuid[]) AND o.open = 0
   AND NOT EXISTS (SELECT FROM outbound_recipients r WHERE r.message_id = o.message_id)
"""
_FORGET_DESTINATIONS = """
WITH idle AS MATERIALIZED (
    SELECT name FROM outbound_destinations WHERE name = ANY ($1::text[]) AND due_at = 'infinity'
     ORDER BY name FOR UPDATE SKIP LOCKED
)
DELETE FROM outbound_destinations d USING idle
 WHERE d.name = idle.name AND NOT EXISTS (SELECT FROM outbound_recipients r WHERE r.destination = d.name)
RETURNING d.name
"""
_FORGET_NEXT_HOPS = """
DELETE FROM outbound_lanes WHERE key IN (
    SELECT l.key FROM outbound_lanes l
     WHERE l.key = ANY ($1::text[]) AND l.closed_until < now() AND l.full_at < now()
       AND NOT EXISTS (SELECT FROM outbound_slots s WHERE s.lane = l.key)
     FOR UPDATE SKIP LOCKED
)
"""
_FORGET_RELAYS = "DELETE FROM relays WHERE buried_at < now() - interval '1 day'"
_FORGET_POLICIES = "DELETE FROM mta_sts_policies WHERE expires_at < now() - interval '30 days'"

# By pairs of state and id, which only ``outbound_recipients_state_idx`` can give in order: whatever
# the planner believes, no more than the limit is read.
_MEASURE = f"""
WITH claimed AS MATERIALIZED (
    SELECT r.state, count(*) AS number
      FROM (SELECT recipient_id FROM outbound_claims LIMIT $1) AS c
     CROSS JOIN LATERAL (SELECT state FROM outbound_recipients WHERE id = c.recipient_id LIMIT 1) AS r
     GROUP BY r.state
)
SELECT s.state,
       n.counted + CASE s.state WHEN 'sending' THEN (SELECT coalesce(sum(number), 0) FROM claimed)
                        ELSE -coalesce((SELECT number FROM claimed c WHERE c.state = s.state), 0) END AS counted,
       CASE WHEN n.counted >= $1 THEN (
           SELECT c.reltuples * coalesce(p.most_common_freqs[array_position(p.most_common_vals::text::text[], s.state)], 0)
             FROM pg_class c
             LEFT JOIN pg_stats p ON p.schemaname = current_schema() AND p.tablename = c.relname AND p.attname = 'state'
            WHERE c.oid = 'outbound_recipients'::regclass
       ) END AS estimated,
       extract(epoch FROM now() - (
           SELECT first.created_at
             FROM (SELECT r.state, r.created_at FROM outbound_recipients r
                    WHERE (r.state, r.id) > (s.state, 0::bigint) AND {unclaimed("r")}
                    ORDER BY r.state, r.id LIMIT 1) AS first
            WHERE first.state = s.state
       ))::float8 AS age
  FROM unnest(ARRAY['queued', 'deferred', 'sending', 'held']) AS s (state)
  CROSS JOIN LATERAL (
      SELECT count(*) AS counted
        FROM (SELECT r.state FROM outbound_recipients r WHERE (r.state, r.id) > (s.state, 0::bigint)
               ORDER BY r.state, r.id LIMIT $1) AS few
       WHERE few.state = s.state
  ) AS n
"""


class PostgresQueue:
    """The port Queue over Postgres. Every method raises Unavailable for faults of the store."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._dsns = DsnQueue(database)

    async def probe(self) -> None:
        await self._database.probe()

    # Relays

    async def heartbeat(self, relay: UUID) -> bool:
        async with self._database.session() as connection:
            return bool(await connection.fetchval(_ALIVE, relay, ALIVE_SECONDS))

    async def leave(self, relay: UUID) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(_LEAVE, relay)
            await connection.execute("DELETE FROM outbound_slots WHERE relay = $1", relay)
            await release(connection, [relay])

    async def reap(self) -> int:
        async with self._database.transaction() as connection:
            await connection.execute(_REAP)
            await connection.execute(_FREE_SLOTS)
            return await release(connection, await dead_holders(connection))

    # Claims

    async def due(self, limit: int) -> Sequence[Due]:
        return await queue_claim.find_due(self._database, limit)

    async def claim(
        self,
        relay: UUID,
        due: Due,
        slot: UUID | None,
        connections: int,
        per_minute: int | None,
        limit: int,
        together: int = 0,
    ) -> Claim:
        return await queue_claim.take(
            self._database, relay, due, slot, connections, per_minute, limit, together
        )

    async def free_slot(self, relay: UUID, slot: UUID) -> None:
        await queue_claim.free(self._database, relay, slot)

    # Outcomes

    async def record(self, relay: UUID, outcomes: Sequence[Outcome]) -> set[int]:
        return await recording.record(self._database, relay, outcomes)

    async def pending_dsns(self, limit: int) -> Sequence[PendingDsn]:
        return await self._dsns.pending_dsns(limit)

    async def dsns_sent(self, recipients: Collection[int]) -> None:
        await self._dsns.dsns_sent(recipients)

    # Next hops

    async def close_next_hop(self, next_hop: str, seconds: float, host: str, reply: str) -> int:
        """Send nothing to this next hop for so long; relays that say so at the same time count
        once."""
        async with self._database.session() as connection:
            row = await connection.fetchval(
                _CLOSE_NEXT_HOP, next_hop, seconds, clean_text(host), clean_text(reply)
            )
        return int(row)

    async def open_next_hop(self, next_hop: str) -> None:
        async with self._database.session() as connection:
            await connection.execute(_OPEN_NEXT_HOP, next_hop)

    # Upkeep

    async def sweep_overdue(self, delay_notices: bool, limit: int) -> Swept:
        async with self._database.transaction() as connection:
            late = [row["id"] for row in await connection.fetch(_FIND_LATE, limit)]
            if not late:
                return Swept(0, [])
            rows: list[Any] = await connection.fetch(_SWEEP, delay_notices, late)
            await release_bodies(connection, (row["message_id"] for row in rows if row["closed"]))
        expired = [
            Expired(
                row["message_id"],
                row["recipient"],
                row["original"],
                row["last_host"],
                row["last_reply"],
            )
            for row in rows
            if row["ended"]
        ]
        return Swept(sum(row["counts"] for row in rows), expired)

    async def resume(self, limit: int) -> int:
        """Let go on what a suspension held whose tenant and account are active again."""
        return await suspensions.resume(self._database, limit)

    async def purge(self, older_than: float, limit: int) -> int:
        """Forget what was closed so many seconds ago; returns how many recipients.

        The destination and its next hop are deleted with their last row, and policies of MTA-STS
        30 days after they have expired.
        """
        async with self._database.transaction() as connection:
            rows: list[Any] = await connection.fetch(_OLD, older_than, limit)
            if rows:
                messages = list({row["message_id"] for row in rows})
                await connection.execute(_LOCK_OLD_MESSAGES, messages)
                await connection.execute(_FORGET, [row["id"] for row in rows])
                await connection.execute(_FORGET_MESSAGES, messages)
        async with self._database.session() as connection:
            if rows:
                names = list({row["destination"] for row in rows})
                idle = [row["name"] for row in await connection.fetch(_FORGET_DESTINATIONS, names)]
                await connection.execute(_FORGET_NEXT_HOPS, idle)
            await connection.execute(_FORGET_RELAYS)
            await connection.execute(_FORGET_POLICIES)
        return len(rows)

    async def measure(self) -> dict[str, float]:
        """Figures for gauges. Of each state at most ``COUNTED`` recipients are counted; beyond,
        the planner's statistics say."""
        async with self._database.session() as connection:
            rows: list[Any] = await connection.fetch(_MEASURE, COUNTED)
        figures = {row["state"]: float(max(row["counted"], row["estimated"] or 0)) for row in rows}
        ages = {row["state"]: float(row["age"] or 0) for row in rows}
        return figures | {
            "oldest": max(ages["queued"], ages["deferred"]),
            "oldest_queued": ages["queued"],
            "oldest_held": ages["held"],
        }
