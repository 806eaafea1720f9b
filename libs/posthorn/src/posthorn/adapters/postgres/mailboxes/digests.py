"""The ports Digests and Pop3Logins on Postgres.

Theory:

- Up to where an account was told is a UID of Junk, which grows with every entry, and an id of
  quarantine, which grows with time. Copies of the last seconds are left for the next digest, since
  a transaction with an earlier id may still be under way.
- Of Junk, what delivery filed is listed; what the owner moved there is not.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

import asyncpg

from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.leader import Leadership
from posthorn.model.classification import JUNK
from posthorn.ports.digests import MOST_ITEMS, POP3_DAYS, Digest, DigestItem

_TASK = "digests"
_SETTLED = "interval '10 seconds'"
_SAYS = (
    "CASE WHEN jsonb_typeof({0}.document->'digest') = 'boolean'"
    " THEN ({0}.document->'digest')::boolean END"
)
_DUE = f"""
SELECT a.id
  FROM accounts a JOIN domains d ON d.id = a.domain_id JOIN tenants t ON t.id = d.tenant_id
  LEFT JOIN digests g ON g.account_id = a.id
  LEFT JOIN pop3_logins l ON l.account_id = a.id
  LEFT JOIN mailboxes j ON j.account_id = a.id AND j.mailbox_id = {JUNK}
  LEFT JOIN filter_policies pa ON pa.account_id = a.id
  LEFT JOIN filter_policies pd ON pd.domain_id = d.id
  LEFT JOIN filter_policies pt ON pt.tenant_id = t.id
  LEFT JOIN filter_policies ps ON ps.tenant_id IS NULL AND ps.domain_id IS NULL AND ps.account_id IS NULL
 WHERE a.id > $1 AND a.state <> 'suspended' AND t.state <> 'suspended'
   AND coalesce({_SAYS.format("pa")}, {_SAYS.format("pd")}, {_SAYS.format("pt")}, {_SAYS.format("ps")},
                l.seen_on > current_date - {POP3_DAYS}, false)
   AND (g.sent_at IS NULL OR g.sent_at <= now() - make_interval(secs => $2))
   AND (j.uidnext > coalesce(g.junk_uid, 0) + 1
        OR EXISTS (SELECT FROM quarantine q
                    WHERE q.account_id = a.id AND (g.quarantine_id IS NULL OR q.id > g.quarantine_id)
                      AND q.created_at < now() - {_SETTLED}))
 ORDER BY a.id LIMIT $3
"""
_ACCOUNT = f"""
SELECT a.address, d.tenant_id, coalesce(g.junk_uid, 0) AS since_uid, g.quarantine_id AS since_copy,
       j.uidnext - 1 AS last_uid,
       (SELECT q.id FROM quarantine q
         WHERE q.account_id = a.id AND q.created_at < now() - {_SETTLED} ORDER BY q.id DESC LIMIT 1) AS last_copy
  FROM accounts a JOIN domains d ON d.id = a.domain_id
  LEFT JOIN digests g ON g.account_id = a.id
  LEFT JOIN mailboxes j ON j.account_id = a.id AND j.mailbox_id = {JUNK}
 WHERE a.id = $1
"""
_JUNK = f"""
SELECT m.id AS message, NULL::uuid AS quarantine, m.received_at, m.from_, m.subject,
       (m.verdict->'filed'->e.account_id::text)::text AS filed, count(*) OVER () AS total
  FROM mailbox_entries e JOIN messages m ON m.id = e.message_id
 WHERE e.account_id = $1 AND e.mailbox_id = {JUNK} AND e.uid > $2 AND e.uid <= $3
   AND m.verdict->'filed' ? e.account_id::text
 ORDER BY e.uid DESC LIMIT {MOST_ITEMS}
"""
_COPIES = f"""
SELECT q.message_id AS message, q.id AS quarantine, m.received_at, m.from_, m.subject, q.reason,
       q.detail, q.score, count(*) OVER () AS total
  FROM quarantine q JOIN messages m ON m.id = q.message_id
 WHERE q.account_id = $1 AND ($2::uuid IS NULL OR q.id > $2) AND q.id <= $3
 ORDER BY q.id DESC LIMIT {MOST_ITEMS}
"""
# an account that has nothing to be told keeps its time
_SENT = """
INSERT INTO digests AS g (account_id, sent_at, junk_uid, quarantine_id)
SELECT id, CASE WHEN $4 THEN now() ELSE '-infinity' END, $2, $3 FROM accounts WHERE id = $1
ON CONFLICT (account_id) DO UPDATE
   SET sent_at = CASE WHEN $4 THEN now() ELSE g.sent_at END, junk_uid = excluded.junk_uid,
       quarantine_id = coalesce(excluded.quarantine_id, g.quarantine_id)
"""
_SEEN = """
INSERT INTO pop3_logins AS l (account_id, seen_on)
SELECT id, current_date FROM accounts WHERE id = ANY ($1::bigint[]) ORDER BY id
ON CONFLICT (account_id) DO UPDATE SET seen_on = excluded.seen_on WHERE l.seen_on < excluded.seen_on
"""


class PostgresDigests:
    """See the port. Each instance is a separate candidate for the lease."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._leadership = Leadership(database, _TASK, uuid4())

    async def lead(self, seconds: float) -> bool:
        return await self._leadership.lead(seconds)

    async def resign(self) -> None:
        await self._leadership.resign()

    async def due(self, after: int, interval_seconds: float, limit: int) -> Sequence[int]:
        async with self._database.session() as connection:
            rows = await connection.fetch(_DUE, after, interval_seconds, limit)
        return [row["id"] for row in rows]

    async def digest(self, account: int) -> Digest | None:
        async with self._database.session() as connection:
            about: Any = await connection.fetchrow(_ACCOUNT, account)
            if about is None:
                return None
            last_uid, last_copy = about["last_uid"] or 0, about["last_copy"]
            junk = await connection.fetch(_JUNK, account, about["since_uid"], last_uid)
            copies = await connection.fetch(_COPIES, account, about["since_copy"], last_copy)
        items = sorted(
            (*map(_junked, junk), *map(_withheld, copies)),
            key=lambda item: item.received_at,
            reverse=True,
        )
        total = sum(rows[0]["total"] for rows in (junk, copies) if rows)
        return Digest(
            account,
            about["address"],
            about["tenant_id"],
            items[:MOST_ITEMS],
            total,
            last_uid,
            last_copy,
        )

    async def sent(self, digest: Digest) -> None:
        async with self._database.session() as connection:
            await connection.execute(
                _SENT, digest.account, digest.junk_uid, digest.quarantine, bool(digest.items)
            )

    async def address(self, account: int) -> str | None:
        async with self._database.session() as connection:
            found: str | None = await connection.fetchval(
                "SELECT address FROM accounts WHERE id = $1", account
            )
        return found


class PostgresPop3Logins:
    """See the port."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def seen(self, accounts: Collection[int]) -> None:
        # one that is deleted meanwhile: the others are recorded at their next login
        with suppress(asyncpg.ForeignKeyViolationError):
            async with self._database.session() as connection:
                await connection.execute(_SEEN, sorted(accounts))


def _junked(row: Any) -> DigestItem:
    _, reason, score, detail = json.loads(row["filed"])
    return _item(row, str(reason), str(detail), float(score))


def _withheld(row: Any) -> DigestItem:
    return _item(row, row["reason"], row["detail"], row["score"])


def _item(row: Any, reason: str, detail: str, score: float) -> DigestItem:
    return DigestItem(
        row["message"],
        row["quarantine"],
        row["received_at"],
        row["from_"],
        row["subject"],
        reason,
        detail,
        score,
    )
