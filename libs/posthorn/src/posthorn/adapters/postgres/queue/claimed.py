"""Claimed recipients: rows of ``outbound_claims``, apart from the wide rows of the recipients
(ADR 38).

Rules:

- A claim inserts a row here, a release or an outcome deletes it. The recipient's row, with its
  indexes, changes only with an outcome.
- Whoever claims, or changes what is waiting, locks the recipient's row first. A claim that was
  committed since the statement began is not seen by it: claims meet at the primary key
  (``ON CONFLICT DO NOTHING``), everybody else looks again with a new statement, under the lock
  (``unclaimed``).
- The release before claims in the recipient's row: ``state`` becomes ``sending``, ``holder`` the
  relay. While one of its relays is there every claim is made so, and such claims are honoured
  whenever they are met. The trigger ``outbound_recipients_claimed`` keeps its statements from what
  was claimed here before it came.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from posthorn.adapters.postgres.database import Connection
from posthorn.adapters.postgres.queue.closing import make_due

# scalar subqueries with LIMIT: look-ups by key, whatever the planner believes of the tables
_CLAIM = "(SELECT true FROM outbound_claims c WHERE c.recipient_id = {0}.id LIMIT 1)"

SHOWN_STATE = f"CASE WHEN {_CLAIM} THEN 'sending' ELSE {{0}}.state END"
"""The state of a row of outbound_recipients as it is shown."""
HELD = """
CASE {0}.state
     WHEN 'queued' THEN (SELECT true FROM outbound_claims c WHERE c.recipient_id = {0}.id AND c.holder = $1 LIMIT 1)
     WHEN 'deferred' THEN (SELECT true FROM outbound_claims c WHERE c.recipient_id = {0}.id AND c.holder = $1 LIMIT 1)
     WHEN 'sending' THEN {0}.holder = $1
END
"""
"""Whether the relay $1 has claimed a row of outbound_recipients."""
RELEASE_BEFORE = "SELECT FROM relays WHERE NOT claims_apart AND buried_at IS NULL"
"""The relays of the release before."""
CLAIMED_IDS = """
ARRAY (SELECT recipient_id FROM outbound_claims UNION ALL SELECT id FROM outbound_recipients WHERE state = 'sending')
"""
"""Ids of everything that is claimed: no more than all relays together are sending."""

# in rows of the release before: from one holder to the next by the index
_DEAD_HOLDERS = """
WITH RECURSIVE holders AS (
    (SELECT holder FROM outbound_recipients WHERE state = 'sending' AND holder IS NOT NULL ORDER BY holder LIMIT 1)
  UNION ALL
    SELECT (SELECT r.holder FROM outbound_recipients r WHERE r.state = 'sending' AND r.holder > h.holder ORDER BY r.holder LIMIT 1)
      FROM holders h WHERE h.holder IS NOT NULL
)
SELECT holder FROM (SELECT holder FROM holders UNION SELECT holder FROM outbound_claims) AS h
 WHERE holder IS NOT NULL AND NOT EXISTS (SELECT FROM relays a WHERE a.id = h.holder AND a.buried_at IS NULL)
"""
_RELEASE = """
WITH held AS MATERIALIZED (
    SELECT id, destination, due_at FROM outbound_recipients
     WHERE id = ANY (ARRAY (SELECT recipient_id FROM outbound_claims WHERE holder = ANY ($1::uuid[])))
     ORDER BY id FOR NO KEY UPDATE
), released AS (
    DELETE FROM outbound_claims
     WHERE recipient_id = ANY (ARRAY (SELECT id FROM held)) AND holder = ANY ($1::uuid[])
    RETURNING recipient_id
)
SELECT destination, due_at FROM held WHERE id IN (SELECT recipient_id FROM released)
"""
_QUEUE_AGAIN = """
WITH held AS MATERIALIZED (
    SELECT id FROM outbound_recipients WHERE state = 'sending' AND holder = ANY ($1::uuid[]) ORDER BY id FOR NO KEY UPDATE
)
UPDATE outbound_recipients r SET state = CASE WHEN r.attempts = 0 THEN 'queued' ELSE 'deferred' END, holder = NULL
 WHERE r.id = ANY (ARRAY (SELECT id FROM held))
RETURNING r.destination, r.due_at
"""


def unclaimed(row: str) -> str:
    """Return the SQL condition that nobody has claimed the row of outbound_recipients with the
    alias ``row``. It reads with the statement's snapshot."""
    return f"{_CLAIM.format(row)} IS NULL"


async def dead_holders(connection: Connection) -> Sequence[UUID]:
    """Return the relays that hold claims, and are unknown or reaped."""
    return [row["holder"] for row in await connection.fetch(_DEAD_HOLDERS)]


async def release(connection: Connection, relays: Sequence[UUID]) -> int:
    """Queue again what these relays hold; return how many recipients. To be called last in a
    transaction."""
    if not relays:
        return 0
    rows = [
        *await connection.fetch(_RELEASE, list(relays)),
        *await connection.fetch(_QUEUE_AGAIN, list(relays)),
    ]
    await make_due(connection, ((row["destination"], row["due_at"]) for row in rows))
    return len(rows)
