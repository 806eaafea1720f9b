"""The port Dispatch on Postgres.

A delivery that is claimed is put off by the length of the claim, and its attempt counted: whoever dies with it at hand leaves it
due again by then. Its number of attempts says whether it is still the claimant's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from uuid import UUID

from posthorn.adapters.postgres.database import Connection, Database, clean_text
from posthorn.adapters.postgres.webhooks import put_off
from posthorn.ports.webhooks import DAYS_OF_FAILURE, FAILURES, MOST_WAITING, Attempt, Parcel, WebhookState

_LOOKED_AT = 500
_KEPT_DAYS = 7
_AT_ONCE = 5000

# Of the first that are due a few of each webhook are taken. Those that are at work already are left out, so that one with much to
# do does not stand in the way of others.
_CLAIM = """
WITH ready AS (
    SELECT id, webhook_id, due_at FROM webhook_deliveries
     WHERE state = 'waiting' AND due_at <= now() AND webhook_id <> ALL ($3::uuid[])
     ORDER BY due_at LIMIT $5 FOR UPDATE SKIP LOCKED
), taken AS (
    SELECT id FROM (
        SELECT id, due_at, row_number() OVER (PARTITION BY webhook_id ORDER BY due_at, id) AS place FROM ready
    ) AS ranked WHERE place <= $2 ORDER BY due_at LIMIT $1
)
UPDATE webhook_deliveries v SET attempts = v.attempts + 1, due_at = now() + make_interval(secs => $4)
  FROM taken, webhooks w
 WHERE v.id = taken.id AND w.id = v.webhook_id AND w.state <> 'paused'
RETURNING v.id, v.webhook_id, w.url, w.secret, v.event_type, v.event::text AS event, v.attempts
"""
_CLOSE = """
UPDATE webhook_deliveries SET state = $3, last_status = $4, last_reply = $5, due_at = now() + make_interval(secs => $6),
       closed_at = CASE WHEN $3 = 'waiting' THEN NULL ELSE now() END
 WHERE id = $1 AND attempts = $2 AND state = 'waiting' RETURNING webhook_id
"""
_RECOVER = "UPDATE webhooks SET state = 'active' WHERE id = $1 AND state = 'failing' RETURNING 1"
# attempts of the newest deliveries, back to the last that was delivered; what is at hand for the first time does not count
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

    async def claim(self, most: int, for_each: int, busy: Sequence[UUID], seconds: float) -> Sequence[Parcel]:
        """Take what is due."""
        async with self._database.transaction() as connection:
            rows = await connection.fetch(_CLAIM, most, for_each, list(busy), seconds, _LOOKED_AT)
        return [
            Parcel(
                id=row["id"],
                webhook=row["webhook_id"],
                url=row["url"],
                secret=row["secret"],
                event_type=row["event_type"],
                event=json.loads(row["event"]),
                attempt=row["attempts"],
            )
            for row in rows
        ]

    async def close(self, parcel: Parcel, attempt: Attempt) -> WebhookState | None:
        """Note what became of it."""
        state = "delivered" if attempt.is_delivered else "failed" if attempt.retry_in is None else "waiting"
        async with self._database.transaction() as connection:
            noted = await connection.fetchval(
                _CLOSE,
                *(parcel.id, parcel.attempt, state, attempt.status, clean_text(attempt.reply)),
                attempt.retry_in or 0.0,
            )
            if noted is None:
                return None
            if attempt.is_delivered:
                return WebhookState.ACTIVE if await connection.fetchval(_RECOVER, parcel.webhook) else None
            if attempt.stop:
                return WebhookState.PAUSED if await _pause(connection, parcel.webhook) else None
            return WebhookState.FAILING if await connection.fetchval(_FAIL, parcel.webhook, FAILURES) else None

    async def upkeep(self) -> Sequence[UUID]:
        """Forget what is old, pause what is hopeless."""
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


async def _pause(connection: Connection, number: UUID) -> bool:
    if not await connection.fetchval(_PAUSE, number):
        return False
    await put_off(connection, number, is_paused=True)
    return True
