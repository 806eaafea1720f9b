"""The port Dispatch on Postgres.

A claimed delivery is postponed by the length of the claim, and its attempt counted: if the claimant
dies, it is due again by then. The number of attempts shows whether it is still the claimant's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from uuid import UUID

from posthorn.adapters.postgres.database import Connection, Database, clean_text
from posthorn.adapters.postgres.events.webhooks import put_off
from posthorn.ports.webhooks import (
    DAYS_OF_FAILURE,
    FAILURES,
    MOST_WAITING,
    Attempt,
    OutgoingDelivery,
    Shares,
    WebhookState,
)

_LOOKED_AT = 500
"""Webhooks examined in one claim; the next one continues after them."""
_NIL = UUID(int=0)
_KEPT_DAYS = 7
_AT_ONCE = 5000

# Webhooks with waiting deliveries are found by jumps in the index, however many each has. Of each
# the first that are due; of those the first of each tenant, then its second, counting those in
# progress. Rows locked by others are skipped.
_CLAIM = """
WITH RECURSIVE waiting (webhook_id, place) AS (
    SELECT (SELECT webhook_id FROM webhook_deliveries WHERE state = 'waiting' AND webhook_id > $1 ORDER BY webhook_id LIMIT 1), 1
  UNION ALL
    SELECT (SELECT d.webhook_id FROM webhook_deliveries d
             WHERE d.state = 'waiting' AND d.webhook_id > waiting.webhook_id ORDER BY d.webhook_id LIMIT 1), place + 1
      FROM waiting WHERE webhook_id IS NOT NULL AND place < $2
), asked AS (
    SELECT w.id, coalesce(w.tenant_id, $9) AS tenant
      FROM waiting JOIN webhooks w ON w.id = waiting.webhook_id WHERE w.state <> 'paused' AND w.id <> ALL ($3::uuid[])
), due AS (
    SELECT first.id, first.due_at, asked.tenant,
           row_number() OVER (PARTITION BY asked.tenant ORDER BY first.place, first.due_at, first.id) AS turn
      FROM asked CROSS JOIN LATERAL (
          SELECT d.id, d.due_at, row_number() OVER (ORDER BY d.due_at, d.id) AS place FROM webhook_deliveries d
           WHERE d.webhook_id = asked.id AND d.state = 'waiting' AND d.due_at <= now() ORDER BY d.due_at, d.id LIMIT $4
      ) AS first
), ranked AS (
    SELECT id, due_at, turn + coalesce(at_work.number, 0) AS turn,
           row_number() OVER (ORDER BY turn + coalesce(at_work.number, 0), due_at, id) AS place
      FROM due LEFT JOIN unnest($7::uuid[], $8::integer[]) AS at_work (tenant, number) USING (tenant)
), taken AS (
    SELECT v.id, v.due_at FROM webhook_deliveries v JOIN ranked ON ranked.id = v.id
     WHERE ranked.turn <= $5 AND ranked.place <= CASE WHEN ranked.turn = 1 THEN $6::integer ELSE $6 - $11::integer END
       AND v.state = 'waiting' AND v.due_at <= now()
       FOR UPDATE OF v SKIP LOCKED
), claimed AS (
    UPDATE webhook_deliveries v SET attempts = v.attempts + 1, due_at = now() + make_interval(secs => $10)
      FROM taken, webhooks w
     WHERE v.id = taken.id AND w.id = v.webhook_id AND w.state <> 'paused'
    RETURNING v.id, v.webhook_id, w.tenant_id, w.url, w.secret, v.event_type, v.event::text AS event, v.attempts,
              CASE WHEN taken.due_at > v.created_at THEN extract(epoch FROM taken.due_at)::float8 END AS due_since
)
SELECT claimed.*, seen.last, seen.number FROM (
    SELECT max(place) AS number, (SELECT webhook_id FROM waiting WHERE webhook_id IS NOT NULL ORDER BY place DESC LIMIT 1) AS last
      FROM waiting WHERE webhook_id IS NOT NULL
) AS seen LEFT JOIN claimed ON true
"""
_CLOSE = """
UPDATE webhook_deliveries SET state = $3, last_status = $4, last_reply = $5, due_at = now() + make_interval(secs => $6),
       closed_at = CASE WHEN $3 = 'waiting' THEN NULL ELSE now() END
 WHERE id = $1 AND attempts = $2 AND state = 'waiting' RETURNING webhook_id
"""
_RECOVER = "UPDATE webhooks SET state = 'active' WHERE id = $1 AND state = 'failing' RETURNING 1"
# attempts of the newest deliveries, back to the last that succeeded; a first attempt in progress
# does not count
_FAIL = """
UPDATE webhooks SET state = 'failing'
 WHERE id = $1 AND state = 'active' AND $2 <= (
    SELECT sum(attempts) FROM (
        SELECT attempts, sum((state = 'delivered')::int) OVER (ORDER BY id DESC) AS delivered
          FROM (SELECT id, state, attempts FROM webhook_deliveries
                 WHERE webhook_id = $1 AND (last_status IS NOT NULL OR last_reply <> '') ORDER BY id DESC LIMIT 50) AS newest
    ) AS counted WHERE delivered = 0)
RETURNING 1
"""
_PAUSE = "UPDATE webhooks SET state = 'paused' WHERE id = $1 AND state <> 'paused' RETURNING 1"
_HOPELESS = """
SELECT w.id FROM webhooks w
 WHERE w.state = 'failing' AND w.updated_at < now() - make_interval(days => $1)
   AND EXISTS (SELECT FROM webhook_deliveries v WHERE v.webhook_id = w.id AND v.state = 'failed'
                  AND v.created_at < now() - make_interval(days => $1))
   AND NOT EXISTS (SELECT FROM webhook_deliveries v WHERE v.webhook_id = w.id AND v.state = 'delivered'
                      AND v.closed_at > now() - make_interval(days => $1))
UNION
SELECT v.webhook_id FROM webhook_deliveries v JOIN webhooks w ON w.id = v.webhook_id
 WHERE v.state = 'waiting' AND w.state <> 'paused' GROUP BY v.webhook_id HAVING count(*) > $2
"""


class PostgresDispatch:
    """The port Dispatch over Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._after = _NIL
        """The webhook after which the next claim begins."""

    async def claim(self, shares: Shares, seconds: float) -> Sequence[OutgoingDelivery]:
        """Claim due deliveries."""
        async with self._database.transaction() as connection:
            rows = await connection.fetch(
                _CLAIM,
                self._after,
                _LOOKED_AT,
                list(shares.busy),
                shares.of_webhook,
                shares.of_tenant,
                shares.most,
                [tenant or _NIL for tenant in shares.at_work],
                list(shares.at_work.values()),
                _NIL,
                seconds,
                shares.spare,
            )
        self._after = rows[0]["last"] if rows[0]["number"] == _LOOKED_AT else _NIL
        return [
            OutgoingDelivery(
                id=row["id"],
                webhook=row["webhook_id"],
                url=row["url"],
                secret=row["secret"],
                event_type=row["event_type"],
                event=json.loads(row["event"]),
                attempt=row["attempts"],
                tenant=row["tenant_id"],
                wanted_at=row["due_since"] or _time_of(row["id"]),
            )
            for row in rows
            if row["id"] is not None
        ]

    async def close(self, parcel: OutgoingDelivery, attempt: Attempt) -> WebhookState | None:
        """Record the result of an attempt."""
        state = (
            "delivered"
            if attempt.is_delivered
            else "failed"
            if attempt.retry_in is None
            else "waiting"
        )
        async with self._database.transaction() as connection:
            noted = await connection.fetchval(
                _CLOSE,
                *(parcel.id, parcel.attempt, state, attempt.status, clean_text(attempt.reply)),
                attempt.retry_in or 0.0,
            )
            if noted is None:
                return None
            if attempt.is_delivered:
                return (
                    WebhookState.ACTIVE
                    if await connection.fetchval(_RECOVER, parcel.webhook)
                    else None
                )
            if attempt.stop:
                return WebhookState.PAUSED if await _pause(connection, parcel.webhook) else None
            return (
                WebhookState.FAILING
                if await connection.fetchval(_FAIL, parcel.webhook, FAILURES)
                else None
            )

    async def upkeep(self) -> Sequence[UUID]:
        """Delete old deliveries, pause webhooks that keep failing."""
        gone = f"DELETE 0 {_AT_ONCE}"
        while int(gone.rpartition(" ")[2]) == _AT_ONCE:
            async with self._database.session() as connection:
                gone = await connection.execute(
                    "DELETE FROM webhook_deliveries WHERE id = ANY (ARRAY(SELECT id FROM webhook_deliveries"
                    " WHERE closed_at < now() - make_interval(days => $1) LIMIT $2))",
                    *(_KEPT_DAYS, _AT_ONCE),
                )
        async with self._database.transaction() as connection:
            rows = await connection.fetch(_HOPELESS, DAYS_OF_FAILURE, MOST_WAITING)
            return [row["id"] for row in rows if await _pause(connection, row["id"])]


def _time_of(delivery: UUID) -> float:
    """Return the time in the id of a delivery, a UUIDv7: that of its event."""
    return (delivery.int >> 80) / 1000


async def _pause(connection: Connection, number: UUID) -> bool:
    if not await connection.fetchval(_PAUSE, number):
        return False
    await put_off(connection, number, is_paused=True)
    return True
