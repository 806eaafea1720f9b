"""Expunging: removal of entries from mailboxes, for POP3, the API and retention.

Theory:

- The caller holds the lock of the account's row, so that its entries do not change: every statement
  that adds or drops entries of an account holds that lock.
- In a domain with an undelete window an entry becomes a row of ``deleted_entries``: its quota is
  freed at once, and the message keeps its reference, so its body stays. Without a window the
  reference is dropped with the entry.
- An account's deleted messages are bounded by twice its quota: beyond that the oldest are purged at
  once, in the transaction of the removal. Otherwise filling and emptying a mailbox would store any
  amount.
- Where references are dropped, rows of ``deleted_entries`` are locked first, then messages, then
  segments, each by a separate statement and in the order of ids, before one statement changes all
  of them: within a statement the planner would choose the order of locks.
- ``purge`` drops rows past their window without locking accounts: it skips rows that are being
  restored.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from posthorn.adapters.postgres.database import Connection
from posthorn.adapters.postgres.mailboxes.changes import COUNTS, SUBTRACT_COUNTS, UIDS, log_changes
from posthorn.model.room import crossed_sql
from posthorn.ports.mailbox_hints import Changed
from posthorn.ports.mailbox_view import ChangeKind

LONG_SECONDS = 600
"""Seconds that a statement may take that removes all mail of an account."""
_SLICE = 10_000
"""Entries per statement: each has its own time limit, and a mailbox may hold any number of
entries."""

# 'w' leads rather than the entries: look-ups by key, whatever the statistics say
_WANTED = """
    FROM unnest($2::integer[], $3::bigint[]) AS w (mailbox_id, uid)
    JOIN mailbox_entries e ON e.account_id = $1 AND e.mailbox_id = w.mailbox_id AND e.uid = w.uid
"""
LOCK_ACCOUNT = """
    SELECT a.address, d.undelete_days FROM accounts a JOIN domains d ON d.id = a.domain_id WHERE a.id = $1 FOR NO KEY UPDATE OF a
"""
"""Statement that locks an account's row and returns what ``remove`` needs."""
_LOCK_MESSAGES = f"""
    SELECT segment_id FROM messages WHERE id IN (SELECT e.message_id {_WANTED}) ORDER BY id FOR NO KEY UPDATE
"""
LOCK_SEGMENTS = "SELECT FROM segments WHERE id = ANY ($1::uuid[]) ORDER BY id FOR NO KEY UPDATE"

_GONE = f"""
    gone AS (
        DELETE FROM mailbox_entries e USING unnest($2::integer[], $3::bigint[]) AS w (mailbox_id, uid)
         WHERE e.account_id = $1 AND e.mailbox_id = w.mailbox_id AND e.uid = w.uid
        RETURNING e.message_id, e.mailbox_id, e.uid, e.size_crlf, e.flags, e.keywords, e.internal_date
    ), boxes AS (
        UPDATE mailboxes b SET {SUBTRACT_COUNTS}
          FROM (SELECT mailbox_id, {COUNTS}, {UIDS} FROM gone GROUP BY mailbox_id) AS n
         WHERE b.account_id = $1 AND b.mailbox_id = n.mailbox_id
        RETURNING b.mailbox_id, b.modseq, n.uids
    ), changes AS (
        {log_changes(f"SELECT $1, mailbox_id, modseq, {ChangeKind.REMOVED}, uids FROM boxes")}
    ), account AS (
        UPDATE accounts a SET used_bytes = a.used_bytes - n.octets, used_messages = a.used_messages - n.entries
          FROM (SELECT coalesce(sum(size_crlf), 0) AS octets, count(*) AS entries FROM gone) AS n
         WHERE a.id = $1 AND n.entries > 0
        RETURNING {crossed_sql("a.quota_bytes", "a.used_bytes", "a.used_bytes + n.octets")} AS room
    )
"""
_RESULT = """
    SELECT mailbox_id, modseq, (SELECT count(*) FROM gone) AS entries, EXISTS (SELECT FROM account WHERE room) AS below_quota
      FROM boxes
"""

# two entries of one message in one mailbox, deleted together, get distinct times
_KEEP = f"""
    WITH {_GONE}, kept AS (
        INSERT INTO deleted_entries (account_id, message_id, mailbox_id, size_crlf, flags, keywords, internal_date, deleted_at)
        SELECT $1, message_id, mailbox_id, size_crlf, flags, keywords, internal_date,
               base.at + interval '1 microsecond' * row_number() OVER (PARTITION BY message_id, mailbox_id)
          FROM gone, (SELECT clock_timestamp() AS at OFFSET 0) AS base
    )
    {_RESULT}
"""
DROPPED = """
    dropped AS (
        UPDATE messages m SET refs = m.refs - n.entries
          FROM (SELECT message_id, count(*) AS entries FROM {freed} GROUP BY message_id) AS n
         WHERE m.id = n.message_id
        RETURNING m.segment_id, m.stored_octets, m.refs
    ), emptied AS (
        UPDATE segments s SET live_octets = s.live_octets - n.octets
          FROM (SELECT segment_id, sum(stored_octets) AS octets FROM dropped WHERE refs = 0 GROUP BY segment_id) AS n
         WHERE s.id = n.segment_id
    )
"""
_DROP = f"WITH {_GONE}, {DROPPED.format(freed='gone')} {_RESULT}"

_ALL = """
    SELECT message_id FROM mailbox_entries WHERE account_id = $1
     UNION SELECT message_id FROM deleted_entries WHERE account_id = $1
     UNION SELECT message_id FROM quarantine WHERE account_id = $1
"""
_LOCK_ALL = (
    "SELECT count(*) FROM (SELECT FROM deleted_entries WHERE account_id = $1 FOR UPDATE) AS locked",
    "SELECT count(*) FROM (SELECT FROM quarantine WHERE account_id = $1 ORDER BY id FOR UPDATE) AS locked",
    f"SELECT count(*) FROM (SELECT FROM messages WHERE id IN ({_ALL}) ORDER BY id FOR NO KEY UPDATE) AS locked",
    f"""
    SELECT count(*) FROM (
        SELECT FROM segments WHERE id IN (SELECT segment_id FROM messages WHERE id IN ({_ALL})) ORDER BY id FOR NO KEY UPDATE
    ) AS locked
    """,
)
_DROP_ALL = f"""
    WITH gone AS (
        DELETE FROM mailbox_entries WHERE account_id = $1 RETURNING message_id
    ), kept AS (
        DELETE FROM deleted_entries WHERE account_id = $1 RETURNING message_id
    ), withheld AS (
        DELETE FROM quarantine WHERE account_id = $1 RETURNING message_id
    ), freed AS (
        SELECT message_id FROM gone UNION ALL SELECT message_id FROM kept UNION ALL SELECT message_id FROM withheld
    ), changes AS (
        DELETE FROM mailbox_changes WHERE account_id = $1
    ), {DROPPED.format(freed="freed")}
    SELECT count(*) FROM freed
"""

# one index from the oldest on, skipping entries that other domains keep longer; the caller
# continues where this ended
_PAST = """
    SELECT e.account_id, e.message_id, e.mailbox_id, e.deleted_at,
           d.undelete_days IS NULL OR e.deleted_at <= now() - make_interval(days => d.undelete_days) AS past
      FROM (
          SELECT account_id, message_id, mailbox_id, deleted_at FROM deleted_entries
           WHERE deleted_at > $1
             AND deleted_at <= now() - make_interval(days => (SELECT coalesce(min(undelete_days), 0) FROM domains))
           ORDER BY deleted_at LIMIT $2
      ) AS e
      LEFT JOIN accounts a ON a.id = e.account_id LEFT JOIN domains d ON d.id = a.domain_id
     ORDER BY e.deleted_at
"""
_LOCK_PAST = """
    SELECT e.account_id, e.message_id, e.mailbox_id, e.deleted_at
      FROM deleted_entries e
      JOIN unnest($1::bigint[], $2::uuid[], $3::integer[], $4::timestamptz[]) AS w (account_id, message_id, mailbox_id, deleted_at)
     USING (account_id, message_id, mailbox_id, deleted_at)
     ORDER BY e.account_id, e.message_id FOR UPDATE OF e SKIP LOCKED
"""
LOCK_THESE = (
    "SELECT segment_id FROM messages WHERE id = ANY ($1::uuid[]) ORDER BY id FOR NO KEY UPDATE"
)
_PURGE = f"""
    WITH freed AS (
        DELETE FROM deleted_entries e
         USING unnest($1::bigint[], $2::uuid[], $3::integer[], $4::timestamptz[])
               AS w (account_id, message_id, mailbox_id, deleted_at)
         WHERE e.account_id = w.account_id AND e.message_id = w.message_id AND e.mailbox_id = w.mailbox_id
           AND e.deleted_at = w.deleted_at
        RETURNING e.message_id
    ), {DROPPED.format(freed="freed")}
    SELECT count(*) FROM freed
"""


_BEYOND_QUOTA = """
    SELECT e.account_id, e.message_id, e.mailbox_id, e.deleted_at
      FROM (
          SELECT account_id, message_id, mailbox_id, deleted_at,
                 sum(size_crlf) OVER (ORDER BY deleted_at DESC, message_id, mailbox_id) AS total
            FROM deleted_entries WHERE account_id = $1
      ) AS e
      JOIN accounts a ON a.id = e.account_id
     WHERE e.total > 2 * a.quota_bytes
"""


class Removed(NamedTuple):
    """Result of a removal."""

    entries: int
    below_quota: bool
    """Whether the account accepts mail again: the directory must be updated."""
    changed: Sequence[Changed] = ()
    """The mailboxes with their new modseqs."""


async def remove(
    connection: Connection, account: int, where: Sequence[tuple[int, int]], *, keep: bool
) -> Removed:
    """Remove the entries (mailbox id, uid) from an account's mailboxes; missing ones are ignored.

    The caller holds the lock of the account's row. ``keep``: whether its domain has an undelete
    window.
    """
    slices = [where[start : start + _SLICE] for start in range(0, len(where), _SLICE)]
    columns = [([box for box, _ in some], [uid for _, uid in some]) for some in slices]
    if not keep:
        segments: set[UUID | None] = set()
        for boxes, uids in columns:
            segments |= {
                row["segment_id"]
                for row in await connection.fetch(_LOCK_MESSAGES, account, boxes, uids)
            }
        await connection.execute(LOCK_SEGMENTS, [segment for segment in segments if segment])
    entries, below_quota = 0, False
    modseqs: dict[int, int] = {}
    for boxes, uids in columns:
        rows = await connection.fetch(_KEEP if keep else _DROP, account, boxes, uids)
        modseqs |= {row["mailbox_id"]: row["modseq"] for row in rows}
        if rows:
            entries += rows[0]["entries"]
            below_quota = below_quota or rows[0]["below_quota"]
    if keep and entries and (beyond := await connection.fetch(_BEYOND_QUOTA, account)):
        await purge(connection, beyond)
    changed = [(account, mailbox, modseq) for mailbox, modseq in modseqs.items()]
    return Removed(entries, below_quota, changed)


async def remove_everything(connection: Connection, account: int) -> None:
    """Remove all entries of an account, deleted and quarantined ones included. The caller holds
    the account and deletes it."""
    for lock in _LOCK_ALL:
        await connection.fetchval(lock, account, timeout=LONG_SECONDS)
    await connection.fetchval(_DROP_ALL, account, timeout=LONG_SECONDS)


class Past(NamedTuple):
    """Some deleted entries, from the oldest on."""

    rows: Collection[Any]
    """Those past their window."""
    last: datetime | None
    """Where to go on; None: there is no more."""


async def past(connection: Connection, after: datetime | None, limit: int) -> Past:
    """Examine ``limit`` deleted entries."""
    # not null, for which a cached plan would read the whole index
    after = after or datetime(1970, 1, 1, tzinfo=UTC)
    rows = await connection.fetch(_PAST, after, limit)
    return Past(
        [row for row in rows if row["past"]], rows[-1]["deleted_at"] if len(rows) == limit else None
    )


async def purge(connection: Connection, rows: Collection[Any]) -> int:
    """Drop the deleted entries, with references and live bytes, in the caller's transaction;
    returns how many went."""
    locked = await connection.fetch(_LOCK_PAST, *_columns(rows))
    if not locked:
        return 0
    found = await connection.fetch(LOCK_THESE, sorted({row["message_id"] for row in locked}))
    await connection.execute(
        LOCK_SEGMENTS, list({row["segment_id"] for row in found if row["segment_id"]})
    )
    return int(await connection.fetchval(_PURGE, *_columns(locked)))


def _columns(rows: Collection[Any]) -> list[list[Any]]:
    return [
        [row[name] for row in rows]
        for name in ("account_id", "message_id", "mailbox_id", "deleted_at")
    ]
