"""Retention on Postgres: mail past its domain's retention, and deleted mail past its undelete
window.

Theory:

- A round covers the domains with a retention, and their accounts, by id. Entries are examined by
  account: there is no index over their dates, so a round reads every entry of these domains once.
  The next batch continues where the last one ended.
- Entries are removed as their owner would (``expunge``): with an undelete window they can be
  restored.
- The age of mail is counted from the later of its internal date (when it was received, here or
  where it was imported from) and its delivery, by Postgres' clock: the clock of smtp-in may be
  wrong, and imported mail is kept for the whole time.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import uuid4

from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.directory.outbox import write_outbox
from posthorn.adapters.postgres.leader import Leadership
from posthorn.adapters.postgres.mailboxes.changes import changing
from posthorn.adapters.postgres.mailboxes.expunge import LOCK_ACCOUNT, past, purge, remove
from posthorn.adapters.postgres.mailboxes.quarantine import discard
from posthorn.ports.mailbox_hints import Announce, announce_nothing
from posthorn.ports.retention import Step

_TASK = "retention"
_ACCOUNTS_AT_ONCE = 200

_OLD = """
    SELECT account.id,
           EXISTS (
               SELECT FROM mailbox_entries e JOIN messages m ON m.id = e.message_id
                WHERE e.account_id = account.id AND e.internal_date < now() - make_interval(days => account.retention_days)
                  AND m.placed_at < now() - make_interval(days => account.retention_days)
           ) AS has_old
      FROM (
          SELECT a.id, d.retention_days FROM accounts a JOIN domains d ON d.id = a.domain_id
           WHERE a.id > $1 AND d.retention_days IS NOT NULL ORDER BY a.id LIMIT $2
      ) AS account
     ORDER BY account.id
"""
_ENTRIES = """
    SELECT (SELECT coalesce(sum(used_messages), 0) FROM accounts) + (SELECT count(*) FROM deleted_entries)
"""
_QUARANTINED = "SELECT reason, count(*) AS copies FROM quarantine GROUP BY reason"
_WHERE = """
    SELECT e.mailbox_id, e.uid
      FROM accounts a JOIN domains d ON d.id = a.domain_id JOIN mailbox_entries e ON e.account_id = a.id
      JOIN messages m ON m.id = e.message_id
     WHERE a.id = $1 AND e.internal_date < now() - make_interval(days => d.retention_days)
       AND m.placed_at < now() - make_interval(days => d.retention_days)
     ORDER BY e.mailbox_id, e.uid LIMIT $2
"""


class PostgresRetention:
    """The port Retention over Postgres. Each instance is a separate candidate for leadership."""

    def __init__(self, database: Database, announce: Announce = announce_nothing) -> None:
        self._database = database
        self._announce = announce
        self._leadership = Leadership(database, _TASK, uuid4())
        self._account = 0
        self._deleted: datetime | None = None

    async def lead(self, seconds: float) -> bool:
        """Become or stay the leader."""
        return await self._leadership.lead(seconds)

    async def entries(self) -> int:
        """Return the approximate number of entries; see the port."""
        async with self._database.session() as connection:
            return int(await connection.fetchval(_ENTRIES))

    async def expire(self, limit: int) -> Step:
        """Delete some of what is too old, of some accounts."""
        async with self._database.session() as connection:
            rows = await connection.fetch(_OLD, self._account, _ACCOUNTS_AT_ONCE)
        gone = 0
        for row in rows:
            while row["has_old"] and (some := await self._expire(row["id"], limit - gone)):
                gone += some
                if gone >= limit:
                    return Step(gone, is_over=False)  # this account may have more
            self._account = row["id"]
        is_over = len(rows) < _ACCOUNTS_AT_ONCE
        if is_over:
            self._account = 0
        return Step(gone, is_over)

    async def _expire(self, account: int, limit: int) -> int:
        async with changing(self._database, self._announce) as (connection, changed):
            row = await connection.fetchrow(LOCK_ACCOUNT, account)
            if row is None:
                return 0
            where = [
                (old["mailbox_id"], old["uid"])
                for old in await connection.fetch(_WHERE, account, limit)
            ]
            removed = await remove(connection, account, where, keep=row["undelete_days"] > 0)
            changed += removed.changed
            if removed.below_quota:
                await write_outbox(connection, row["address"])
            return removed.entries

    async def expire_quarantine(self, limit: int) -> Step:
        """Drop some copies past their time; those that are being released are skipped."""
        async with self._database.transaction() as connection:
            gone = await discard(
                connection, "expires_at <= now()", limit=limit, skip=True, order="expires_at"
            )
        return Step(gone, is_over=gone < limit)

    async def quarantined(self) -> Mapping[str, int]:
        """Count the copies in quarantine."""
        async with self._database.session() as connection:
            rows = await connection.fetch(_QUARANTINED)
        return {row["reason"]: row["copies"] for row in rows}

    async def purge(self, limit: int) -> Step:
        """Drop some of what cannot be brought back any more."""
        async with self._database.transaction() as connection:
            found = await past(connection, self._deleted, limit)
            gone = await purge(connection, found.rows) if found.rows else 0
        self._deleted = found.last
        return Step(gone, is_over=found.last is None)
