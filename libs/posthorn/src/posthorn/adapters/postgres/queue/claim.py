"""Claims: what a relay may take next, and the taking.

Theory:

- A destination's row says when the earliest of its recipients is due. It may be too early, never
  too late: whoever makes recipients due writes the destination after them. A claim that finds
  nothing locks the destination first, and looks with a new statement when the next recipient is
  due: it either sees what was written meanwhile or is overwritten afterwards.
- A claim that looked at a destination puts it at the end of the line (due now instead of long ago),
  so that a few that are always busy do not hide all others from ``due``.
- The next hop's row is locked while a slot is taken or messages are counted against the rate, and
  only then: a worker that goes on with its slot claims by one statement. Slots are counted by a
  statement of its own, begun under that lock.
- A next hop that has failed and has not been opened since gets one slot and one recipient at a
  time: a try.
- What belongs to a suspended tenant or account is passed over by the claim that meets it, and then
  put aside (``suspensions``), so that nobody walks over it again.
- What is claimed has a row of its own (``claimed``) and stays in the index of what is due, where
  claims pass over it: over no more than is being sent to the destination.
- What a claim takes of a message it takes, if it is to keep them together, with the message's other
  recipients that are due at the destination: they can share a transaction, however small the claim.
  They were made due at one moment, so they follow in the order of the index; no further than
  ``together`` rows are looked at, and none if all open recipients of the messages are taken.
- Recipients are taken through ``outbound_recipients_due_idx``, in its order. Arrays and LATERAL
  with LIMIT keep the plan to look-ups by key, whatever the planner believes of the tables: it knows
  neither the limit nor the destination. A state that is compared by CASE is one for which no
  partial index is tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

from posthorn.adapters.postgres.body_location import as_location
from posthorn.adapters.postgres.database import Connection, Database
from posthorn.adapters.postgres.queue import suspensions
from posthorn.adapters.postgres.queue.claimed import RELEASE_BEFORE, unclaimed
from posthorn.adapters.postgres.queue.routes import COLUMNS, as_route
from posthorn.adapters.postgres.queue.suspensions import SUSPENDED_FOR
from posthorn.model.outbound import Notify
from posthorn.ports.errors import Unavailable
from posthorn.ports.queue import Claim, Due, Job

_MOST_ROUNDS = 50
"""Claims that one look makes while it meets nothing but what belongs to suspended owners."""
_ROUTE = ", ".join(f"r.{name}" for name in COLUMNS)
NEXT_HOP = """
'[' || r.host || ']:' || coalesce(r.port, CASE WHEN r.tls = 'implicit' THEN 465 ELSE 25 END)
"""  # as Route.next_hop

# First the destinations with routes of their own, then all others, which are not looked at when the
# next hop they share is closed. NOT IN is answered by a hash table, made once, however many next
# hops are closed. Of a next hop that many share, each stands as far behind as it has others of its
# next hop before it.
_DUE = f"""
WITH others AS MATERIALIZED (
    SELECT {_ROUTE}, {NEXT_HOP} AS lane FROM (VALUES (1)) AS one LEFT JOIN routes r ON r.domain = '*'
), closed AS MATERIALIZED (
    SELECT key FROM outbound_lanes WHERE closed_until > statement_timestamp()
), found AS (
    (
        SELECT d.name, d.due_at, coalesce({NEXT_HOP}, d.name) AS lane, {_ROUTE}
          FROM routes r CROSS JOIN LATERAL (SELECT * FROM outbound_destinations WHERE name = r.domain LIMIT 1) AS d
         WHERE d.due_at <= statement_timestamp() AND coalesce({NEXT_HOP}, d.name) NOT IN (SELECT key FROM closed)
         ORDER BY d.due_at LIMIT $1
    ) UNION ALL (
        SELECT d.name, d.due_at, coalesce(r.lane, d.name), {_ROUTE}
          FROM (
              SELECT d.name, d.due_at FROM outbound_destinations d
               WHERE d.due_at <= statement_timestamp()
                 AND d.name NOT IN (SELECT domain FROM routes)
                 AND ((SELECT lane FROM others) IS NOT NULL OR d.name NOT IN (SELECT key FROM closed))
                 AND (SELECT lane IS NULL OR lane NOT IN (SELECT key FROM closed) FROM others)
               ORDER BY d.due_at LIMIT $1
          ) AS d CROSS JOIN others r
    )
)
SELECT name, {", ".join(COLUMNS)} FROM found
 ORDER BY row_number() OVER (PARTITION BY lane ORDER BY due_at, name), due_at, name LIMIT $1
"""

_LOCK_NEXT_HOP = "SELECT FROM outbound_lanes WHERE key = $1 FOR NO KEY UPDATE"
_MAKE_NEXT_HOP = "INSERT INTO outbound_lanes (key) VALUES ($1) ON CONFLICT (key) DO UPDATE SET failures = outbound_lanes.failures"

# $1 relay, $2 destination, $3 limit, $4 next hop, $5 slot, $6 connections, $7 messages per minute
# or null, $8 recipients to keep together
_HOLDS_SLOT = "EXISTS (SELECT FROM outbound_slots WHERE id = $5 AND relay = $1) AND $6::integer > 0"
_ROOM_FOR_SLOT = """
    EXISTS (SELECT FROM relays WHERE id = $1 AND buried_at IS NULL)
    AND (SELECT count(*) FROM outbound_slots s JOIN relays a ON a.id = s.relay
          WHERE s.lane = $4 AND a.buried_at IS NULL AND a.alive_until > statement_timestamp())
        < CASE WHEN lane.failures > 0 THEN 1 ELSE $6::integer END
"""
_NEW_SLOT = """
, slot AS (
    INSERT INTO outbound_slots (id, lane, relay) SELECT $5::uuid, $4, $1::uuid WHERE EXISTS (SELECT FROM taken)
)
"""

_RECIPIENT = """
{0}.id, {0}.message_id, {0}.recipient, {0}.reverse_path, {0}.sender, {0}.original, {0}.orcpt, {0}.notify,
{0}.attempts, {0}.created_at, {0}.expires_at, {0}.tenant_id, {0}.header
"""
JOB_COLUMNS = f"""
{_RECIPIENT.format("taken")},
o.smtputf8, o.ret, o.envid, o.signature,
m.offset_octets, m.stored_octets, m.encoding, m.size_crlf, m.has_dot_lines, m.return_path_octets,
coalesce((SELECT s.key FROM segments s WHERE s.id = m.segment_id), '') AS key,
(SELECT true FROM suppressions p WHERE p.tenant_id = taken.tenant_id AND p.address = taken.address LIMIT 1) AS suppressed
"""
"""The columns of a job, from the recipient's row ``taken`` and ``JOB_SOURCES``."""
JOB_SOURCES = """
CROSS JOIN LATERAL (SELECT * FROM outbound_messages WHERE message_id = taken.message_id LIMIT 1) AS o
CROSS JOIN LATERAL (SELECT * FROM messages WHERE id = taken.message_id LIMIT 1) AS m
"""

# ``spare``: messages the next hop may get now; a bucket that holds ten seconds' worth, at least one
# message.
_TAKE = """
WITH lane AS MATERIALIZED (
    SELECT coalesce(max(failures), 0) AS failures, coalesce(max(closed_until), '-infinity') > statement_timestamp() AS closed,
           greatest(extract(epoch FROM nullif(max(full_at), '-infinity') - statement_timestamp())::float8, 0) AS ahead,
           60.0::float8 / $7::integer AS unit
      FROM outbound_lanes WHERE key = $4
), room AS MATERIALIZED (
    SELECT NOT lane.closed AND {ok} AS ok, CASE WHEN lane.failures > 0 THEN 1 ELSE $3::integer END AS most,
           floor(greatest(10 / lane.unit, 1) - coalesce(lane.ahead, 0) / lane.unit + 0.001) AS spare,
           coalesce(lane.ahead, 0) + lane.unit - greatest(10, lane.unit) AS wait
      FROM lane
), oldest AS MATERIALIZED (
    SELECT {recipient}, r.due_at FROM outbound_recipients r
     WHERE r.destination = $2 AND r.state IN ('queued', 'deferred') AND r.due_at <= statement_timestamp()
       AND (SELECT ok AND coalesce(spare, 1) >= 1 FROM room) AND {unclaimed}
     ORDER BY r.due_at, r.id LIMIT (SELECT most FROM room) FOR NO KEY UPDATE OF r SKIP LOCKED
), near AS MATERIALIZED (
    SELECT id FROM (
        SELECT r.id, r.message_id FROM outbound_recipients r
         WHERE r.destination = $2 AND r.state IN ('queued', 'deferred') AND r.due_at <= statement_timestamp()
           AND (SELECT failures FROM lane) = 0
           AND (SELECT count(*) >= (SELECT most FROM room) AND count(*) < $8::integer
                       AND count(*) < (SELECT sum(open) FROM outbound_messages
                                        WHERE message_id = ANY (ARRAY (SELECT message_id FROM oldest)))
                  FROM oldest)
           AND {unclaimed}
         ORDER BY r.due_at, r.id LIMIT (SELECT most FROM room) + $8::integer
    ) AS following
     WHERE message_id = ANY (ARRAY (SELECT message_id FROM oldest)) AND id <> ALL (ARRAY (SELECT id FROM oldest))
), others AS MATERIALIZED (
    SELECT {recipient}, r.due_at FROM outbound_recipients r
     WHERE r.id = ANY (ARRAY (SELECT id FROM near))
       AND CASE r.state WHEN 'queued' THEN true WHEN 'deferred' THEN true ELSE false END
     ORDER BY r.id LIMIT (SELECT greatest($8::integer - count(*), 0) FROM oldest) FOR NO KEY UPDATE OF r SKIP LOCKED
), picked AS MATERIALIZED (
    SELECT * FROM oldest UNION ALL SELECT * FROM others
), judged AS MATERIALIZED (
    SELECT id, message_id, reverse_path, header, due_at, {suspended} IS NOT NULL AS stopped FROM picked
), numbered AS (
    SELECT id, message_id, reverse_path,
           min(place) OVER (PARTITION BY message_id, reverse_path, header) AS first
      FROM (SELECT *, row_number() OVER (ORDER BY due_at, id) AS place FROM judged WHERE NOT stopped) AS p
), chosen AS MATERIALIZED (
    SELECT id, first, rank FROM (SELECT *, dense_rank() OVER (ORDER BY first) AS rank FROM numbered) AS n
     WHERE rank <= (SELECT coalesce(spare, rank) FROM room)
), beside AS MATERIALIZED (
    SELECT EXISTS ({release_before}) AS others
), claimed AS (
    INSERT INTO outbound_claims (recipient_id, holder) SELECT id, $1 FROM chosen WHERE NOT (SELECT others FROM beside)
    ON CONFLICT (recipient_id) DO NOTHING
    RETURNING recipient_id
), marked AS (
    UPDATE outbound_recipients r SET state = 'sending', holder = $1
     WHERE r.id = ANY (ARRAY (SELECT id FROM chosen WHERE (SELECT others FROM beside)))
    RETURNING r.id
), taken AS MATERIALIZED (
    SELECT picked.*, chosen.first, chosen.rank
      FROM (SELECT recipient_id AS id FROM claimed UNION ALL SELECT id FROM marked) AS got
      JOIN chosen USING (id) JOIN picked USING (id)
), charged AS (
    UPDATE outbound_lanes l
       SET full_at = greatest(l.full_at, statement_timestamp())
                     + make_interval(secs => (SELECT unit FROM lane) * (SELECT max(rank) FROM taken))
     WHERE l.key = $4 AND $7::integer IS NOT NULL AND EXISTS (SELECT FROM taken)
), turned AS (
    UPDATE outbound_destinations SET due_at = statement_timestamp()
     WHERE name = (SELECT name FROM outbound_destinations
                    WHERE name = $2 AND due_at < statement_timestamp() - interval '1 second' FOR NO KEY UPDATE SKIP LOCKED)
){slot}
SELECT room.ok, CASE WHEN room.spare < 1 THEN room.wait ELSE 0 END AS wait,
       (SELECT bool_or(stopped) FROM judged) AS stopped, job.*
  FROM room LEFT JOIN (
      SELECT {columns}, taken.first FROM taken {sources}
  ) AS job ON true
 ORDER BY job.first, job.id
"""
_PARTS = {
    "suspended": SUSPENDED_FOR.format("picked"),
    "unclaimed": unclaimed("r"),
    "recipient": f"{_RECIPIENT.format('r').strip()}, r.address",
    "release_before": RELEASE_BEFORE,
    "columns": JOB_COLUMNS,
    "sources": JOB_SOURCES,
}
_TAKE_WITH_SLOT = _TAKE.format(ok=_HOLDS_SLOT, slot="", **_PARTS)
TAKE_AND_SLOT = _TAKE.format(ok=_ROOM_FOR_SLOT, slot=_NEW_SLOT, **_PARTS)
"""Claims and takes a slot; to be run while the next hop's row is locked. The parameters: see above."""

_FREE = "DELETE FROM outbound_slots WHERE id = $1 AND relay = $2"
_FREE_AND_LOCK_DESTINATION = """
WITH freed AS (DELETE FROM outbound_slots WHERE id = $1 AND relay = $2)
SELECT FROM outbound_destinations WHERE name = $3 FOR NO KEY UPDATE
"""
_NEXT_DUE = f"""
WITH next AS MATERIALIZED (
    SELECT greatest(
        coalesce((SELECT r.due_at FROM outbound_recipients r
                   WHERE r.destination = $1 AND r.state IN ('queued', 'deferred') AND {unclaimed("r")}
                   ORDER BY r.due_at, r.id LIMIT 1), 'infinity'),
        CASE WHEN $2 > 0 THEN statement_timestamp() + make_interval(secs => $2) ELSE '-infinity' END
    ) AS due_at
)
UPDATE outbound_destinations d SET due_at = next.due_at FROM next WHERE d.name = $1 AND d.due_at <> next.due_at
"""


async def find_due(database: Database, limit: int) -> Sequence[Due]:
    """Destinations with something due whose next hops are open, the longest waiting first,
    fairly among next hops."""
    async with database.session() as connection:
        rows = await connection.fetch(_DUE, limit)
    return [Due(row["name"], as_route(row) if row["domain"] is not None else None) for row in rows]


async def take(
    database: Database,
    relay: UUID,
    due: Due,
    slot: UUID | None,
    connections: int,
    per_minute: int | None,
    limit: int,
    together: int = 0,
) -> Claim:
    """Claim, as the port says."""
    for _ in range(_MOST_ROUNDS):
        claim, met_suspended = await _take(
            database, relay, due, slot, connections, per_minute, limit, together
        )
        if claim.jobs:
            with suppress(Unavailable):  # what has been taken must be known to the relay
                if met_suspended:
                    await suspensions.put_aside(database, due.destination)
            return claim
        if not met_suspended:
            return claim
        await suspensions.put_aside(database, due.destination)
    if slot is not None:
        await free(database, relay, slot)
    return Claim(None, ())


async def _take(
    database: Database,
    relay: UUID,
    due: Due,
    slot: UUID | None,
    connections: int,
    per_minute: int | None,
    limit: int,
    together: int = 0,
) -> tuple[Claim, bool]:
    """Claim; says besides whether anything of somebody suspended was passed over."""
    held = slot or uuid4()
    values = (
        relay,
        due.destination,
        limit,
        due.next_hop,
        held,
        connections,
        per_minute or None,
        together,
    )
    if slot is not None and not per_minute:
        async with database.session() as connection:
            rows: list[Any] = await connection.fetch(_TAKE_WITH_SLOT, *values)
    else:
        async with database.transaction() as connection:
            await _lock_next_hop(connection, due.next_hop)
            rows = await connection.fetch(
                TAKE_AND_SLOT if slot is None else _TAKE_WITH_SLOT, *values
            )
    stopped = rows[0]["stopped"] is True
    if rows[0]["id"] is not None:
        return Claim(held, [as_job(row) for row in rows]), stopped
    if stopped:
        return Claim(slot, ()), True
    if rows[0]["ok"]:
        await _settle(database, relay, due.destination, slot, rows[0]["wait"])
    elif slot is not None:
        await free(database, relay, slot)
    return Claim(None, ()), False


async def free(database: Database, relay: UUID, slot: UUID) -> None:
    """Give a slot back."""
    async with database.session() as connection:
        await connection.execute(_FREE, slot, relay)


async def _lock_next_hop(connection: Connection, next_hop: str) -> None:
    if await connection.fetchrow(_LOCK_NEXT_HOP, next_hop) is None:
        await connection.execute(_MAKE_NEXT_HOP, next_hop)


async def _settle(
    database: Database, relay: UUID, destination: str, slot: UUID | None, wait: float
) -> None:
    """Nothing could be taken: give the slot back and tell the destination when to look again."""
    async with database.transaction() as connection:
        await connection.execute(_FREE_AND_LOCK_DESTINATION, slot, relay, destination)
        await connection.execute(_NEXT_DUE, destination, wait)


def as_job(row: Any) -> Job:
    """Return the job of a row that has ``JOB_COLUMNS``."""
    return Job(
        id=row["id"],
        message=row["message_id"],
        recipient=row["recipient"],
        reverse_path=row["reverse_path"],
        sender=row["sender"],
        original=row["original"],
        orcpt=row["orcpt"],
        notify=Notify(row["notify"]),
        attempts=row["attempts"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        suppressed=row["suppressed"] is True,
        smtputf8=row["smtputf8"],
        ret=row["ret"],
        envid=row["envid"],
        signature=row["signature"],
        location=as_location(row),
        return_path_octets=row["return_path_octets"],
        tenant=row["tenant_id"],
        header=row["header"],
    )
