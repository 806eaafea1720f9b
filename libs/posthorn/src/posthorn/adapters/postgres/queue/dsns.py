"""Pending DSNs: which are due, and what follows once they are sent.

Theory of operation:

- A row with a DSN due names its action in ``notice``. A row that has ended is closed only when its
  DSN is sent, so that the message's body is still there to be quoted.
- Whoever asks for pending DSNs becomes the reporter of these messages for a while: two relays never
  send DSNs to the same sender at the same time for overlapping sets of recipients. If one dies,
  another takes over.
- A delay DSN may be overtaken by the end of its row while it is sent. So ``dsns_sent`` takes back
  only what was handed out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import groupby
from typing import Any
from uuid import uuid4

from posthorn.adapters.postgres.body_location import as_location
from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.queue.closing import release_bodies
from posthorn.ports.queue import PendingDsn, PendingRecipient
from posthorn.wire.message.dsn import Action

REPORTING_SECONDS = 60.0
"""How long no other reporter sends DSNs for the same message."""

_CANDIDATES = """
SELECT DISTINCT r.message_id FROM outbound_recipients r
 WHERE r.notice IS NOT NULL
   AND (SELECT o.reporter = $2 OR o.reporting_until <= clock_timestamp() FROM outbound_messages o WHERE o.message_id = r.message_id)
 ORDER BY r.message_id LIMIT $1
"""
_RESERVE = """
WITH held AS MATERIALIZED (
    SELECT message_id FROM outbound_messages
     WHERE message_id = ANY ($1::uuid[]) AND (reporter = $2 OR reporting_until <= clock_timestamp())
     ORDER BY message_id FOR NO KEY UPDATE
)
UPDATE outbound_messages o SET reporter = $2, reporting_until = clock_timestamp() + make_interval(secs => $3)
  FROM held WHERE o.message_id = held.message_id
RETURNING o.message_id
"""
_NOTICES = """
SELECT r.id, r.message_id, r.recipient, r.original, r.orcpt, r.notice, r.attempts, r.last_attempt_at, r.last_host, r.last_status,
       r.last_reply, r.expires_at, r.sender, o.ret, o.envid, o.smtputf8, o.client_network, o.tenant_id, m.received_at,
       m.offset_octets, m.stored_octets, m.encoding, m.size_crlf, m.has_dot_lines, m.return_path_octets,
       coalesce((SELECT s.key FROM segments s WHERE s.id = m.segment_id), '') AS key
  FROM outbound_recipients r
  CROSS JOIN LATERAL (SELECT * FROM outbound_messages WHERE message_id = r.message_id LIMIT 1) AS o
  CROSS JOIN LATERAL (SELECT * FROM messages WHERE id = r.message_id LIMIT 1) AS m
 WHERE r.message_id = ANY ($1::uuid[]) AND r.notice IS NOT NULL
 ORDER BY r.message_id, r.sender, r.id
"""
_TOLD = """
WITH asked AS MATERIALIZED (
    SELECT r.id FROM outbound_recipients r JOIN unnest($1::bigint[], $2::text[]) AS told (id, notice) ON told.id = r.id
     WHERE r.id = ANY ($1::bigint[]) AND r.notice = coalesce(told.notice, r.notice)
     ORDER BY r.id FOR NO KEY UPDATE OF r
)
UPDATE outbound_recipients r
   SET notice = NULL, closed_at = CASE WHEN r.state IN ('delivered', 'bounced', 'cancelled') THEN now() END
 WHERE r.id = ANY (ARRAY (SELECT id FROM asked))
RETURNING r.message_id, r.closed_at IS NOT NULL AS closed
"""
_RELEASE = """
WITH held AS MATERIALIZED (
    SELECT message_id FROM outbound_messages
     WHERE message_id = ANY (ARRAY (SELECT r.message_id FROM outbound_recipients r WHERE r.id = ANY ($1::bigint[])))
     ORDER BY message_id FOR NO KEY UPDATE
)
UPDATE outbound_messages o SET reporter = NULL, reporting_until = '-infinity'
  FROM held WHERE o.message_id = held.message_id AND o.reporter = $2
"""


class DsnQueue:
    """The part of the queue for DSNs. An instance is one reporter."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reporter = uuid4()
        self._handed: dict[int, str] = {}

    async def pending_dsns(self, limit: int) -> Sequence[PendingDsn]:
        """Return DSNs that are due and that no other reporter sends, by message and sender, the
        oldest first."""
        async with self._database.session() as connection:
            found = [
                row["message_id"]
                for row in await connection.fetch(_CANDIDATES, limit, self._reporter)
            ]
            if not found:
                return []
            reserved = await connection.fetch(_RESERVE, found, self._reporter, REPORTING_SECONDS)
            rows: list[Any] = await connection.fetch(
                _NOTICES, [row["message_id"] for row in reserved]
            )
        self._handed = {row["id"]: row["notice"] for row in rows}
        grouped = groupby(rows, key=lambda row: (row["message_id"], row["sender"]))
        return [_as_pending_dsn(list(group)) for _, group in grouped]

    async def dsns_sent(self, recipients: Collection[int]) -> None:
        ids = sorted(set(recipients))
        if not ids:
            return
        async with self._database.transaction() as connection:
            rows = await connection.fetch(_TOLD, ids, [self._handed.get(number) for number in ids])
            await connection.execute(_RELEASE, ids, self._reporter)
            await release_bodies(connection, (row["message_id"] for row in rows if row["closed"]))


def _as_pending_dsn(rows: Sequence[Any]) -> PendingDsn:
    first = rows[0]
    return PendingDsn(
        message=first["message_id"],
        sender=first["sender"],
        ret=first["ret"],
        envid=first["envid"],
        smtputf8=first["smtputf8"],
        received_at=first["received_at"],
        tenant=first["tenant_id"],
        location=as_location(first),
        return_path_octets=first["return_path_octets"],
        is_known=not first["client_network"],
        network=first["client_network"],
        recipients=[
            PendingRecipient(
                id=row["id"],
                recipient=row["recipient"],
                original=row["original"],
                orcpt=row["orcpt"],
                notice=Action(row["notice"]),
                attempts=row["attempts"],
                last_attempt_at=row["last_attempt_at"],
                last_host=row["last_host"],
                last_status=row["last_status"],
                last_reply=row["last_reply"],
                expires_at=row["expires_at"],
            )
            for row in rows
        ],
    )
