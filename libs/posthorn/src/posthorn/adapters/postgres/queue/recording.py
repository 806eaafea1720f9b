"""Recording: the outcomes of claimed recipients, and their effects.

Theory:

- A claim names its relay (``claimed``). An outcome counts only while it does, so that what was
  queued again for a reaped relay is never ended by that relay's late outcome.
- Outcomes that end recipients are one statement, with the bodies that they release. What is only
  released keeps its row as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.database import Connection, Database, clean_text
from posthorn.adapters.postgres.queue.claimed import HELD
from posthorn.adapters.postgres.queue.closing import RELEASE_BODIES, make_due
from posthorn.model.outbound import QueueState
from posthorn.ports.queue import Outcome

_FINAL = (QueueState.DELIVERED, QueueState.BOUNCED)

# Recipients of one message with the same verdict are tried again together: jitter must not scatter
# them over transactions.
_RECORD = f"""
WITH held AS MATERIALIZED (
    SELECT r.id, r.message_id, r.destination, r.due_at, r.attempts, r.state FROM outbound_recipients r
     WHERE r.id = ANY ($2::bigint[]) AND {HELD.format("r")} ORDER BY r.id FOR NO KEY UPDATE OF r
), released AS (
    DELETE FROM outbound_claims WHERE recipient_id = ANY (ARRAY (SELECT id FROM held)) AND holder = $1
    RETURNING recipient_id
), ours AS MATERIALIZED (
    SELECT * FROM held WHERE state = 'sending' OR id IN (SELECT recipient_id FROM released)
), outcome AS MATERIALIZED (
    SELECT o.*,
           max(o.retry_in) OVER (PARTITION BY ours.message_id, ours.destination, ours.attempts, o.state, o.status, o.reply) AS pause
      FROM unnest($2::bigint[], $3::text[], $4::float8[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[])
           AS o (id, state, retry_in, host, status, reply, tls, notice) JOIN ours ON ours.id = o.id
), changed AS (
    UPDATE outbound_recipients r
       SET holder = NULL,
           state = CASE WHEN o.state = 'queued' AND r.attempts > 0 THEN 'deferred' ELSE o.state END,
           due_at = CASE WHEN o.state = 'deferred' OR o.pause > 0 THEN now() + make_interval(secs => o.pause) ELSE r.due_at END,
           attempts = r.attempts + CASE WHEN o.state = 'queued' THEN 0 ELSE 1 END,
           last_attempt_at = CASE WHEN o.state = 'queued' THEN r.last_attempt_at ELSE now() END,
           last_host = CASE WHEN o.state = 'queued' THEN r.last_host ELSE o.host END,
           last_status = CASE WHEN o.state = 'queued' AND o.reply = '' THEN r.last_status ELSE o.status END,
           last_reply = CASE WHEN o.state = 'queued' AND o.reply = '' THEN r.last_reply ELSE o.reply END,
           last_tls = CASE WHEN o.state = 'queued' THEN r.last_tls ELSE o.tls END,
           notice = CASE WHEN o.state IN ('queued', 'deferred') THEN coalesce(o.notice, r.notice) ELSE o.notice END,
           closed_at = CASE WHEN o.state IN ('delivered', 'bounced') AND o.notice IS NULL THEN now() END
      FROM outcome o
     WHERE r.id = o.id AND r.id = ANY ($2::bigint[])
       AND (o.state <> 'queued' OR o.pause > 0 OR o.reply <> '' OR o.notice IS NOT NULL OR r.state = 'sending')
    RETURNING r.id, r.message_id, r.destination, r.due_at, r.state, r.tenant_id, r.address, r.closed_at
), closed AS MATERIALIZED (
    SELECT message_id, count(*)::integer AS recipients FROM changed WHERE closed_at IS NOT NULL GROUP BY message_id
), {RELEASE_BODIES}
SELECT id, message_id, destination, due_at, state, tenant_id, address FROM changed
 UNION ALL
SELECT id, message_id, destination, due_at, state, NULL, NULL FROM ours WHERE id NOT IN (SELECT id FROM changed)
"""
_SUPPRESS = """
INSERT INTO suppressions (tenant_id, address, reason, source, message_id)
SELECT s.tenant_id, s.address, s.reason, 'bounce', s.message_id
  FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[]) AS s (tenant_id, address, reason, message_id)
  JOIN tenants t ON t.id = s.tenant_id
 ORDER BY s.tenant_id, s.address
   FOR KEY SHARE OF t
ON CONFLICT (tenant_id, address) DO NOTHING
"""


async def record(database: Database, relay: UUID, outcomes: Sequence[Outcome]) -> set[int]:
    """Record outcomes, as the port ``Queue`` says."""
    told = {outcome.job: outcome for outcome in outcomes}
    if not told:
        return set()
    columns = [list(column) for column in zip(*map(_columns, told.values()), strict=True)]
    rows: list[Any]
    if all(each.state in _FINAL and not each.suppress for each in told.values()):
        async with database.session() as connection:
            rows = await connection.fetch(_RECORD, relay, *columns)
        return {row["id"] for row in rows}
    async with database.transaction() as connection:
        rows = await connection.fetch(_RECORD, relay, *columns)
        await _suppress(
            connection,
            [(row, told[row["id"]].suppress) for row in rows if told[row["id"]].suppress],
        )
        waiting = (row for row in rows if row["state"] in ("queued", "deferred"))
        await make_due(connection, ((row["destination"], row["due_at"]) for row in waiting))
    return {row["id"] for row in rows}


async def _suppress(connection: Connection, bounced: Sequence[tuple[Any, str]]) -> None:
    entries = {
        (row["tenant_id"], row["address"]): (clean_text(reason), row["message_id"])
        for row, reason in bounced
        if row["tenant_id"] is not None
    }
    if entries:
        tenants, addresses = (list(column) for column in zip(*entries, strict=True))
        reasons, messages = (list(column) for column in zip(*entries.values(), strict=True))
        await connection.execute(_SUPPRESS, tenants, addresses, reasons, messages)


def _columns(outcome: Outcome) -> tuple[Any, ...]:
    if outcome.state not in (
        QueueState.DELIVERED,
        QueueState.BOUNCED,
        QueueState.DEFERRED,
        QueueState.QUEUED,
    ):
        raise ValueError(f"{outcome.state.value} is no outcome")
    return (
        outcome.job,
        outcome.state.value,
        outcome.retry_in,
        clean_text(outcome.host),
        clean_text(outcome.status),
        clean_text(outcome.reply),
        clean_text(outcome.tls),
        None if outcome.notice is None else outcome.notice.value,
    )
