"""What all writers of mailboxes share: modseqs, counters and the change log (ADR 33).

Rules:

- The caller holds the lock of the account's row.
- A statement that adds, changes or removes entries gives the mailbox one new modseq. It sets
  ``ADD_COUNTS``, ``SUBTRACT_COUNTS`` or, where no counter changes, ``NEW_MODSEQ``, and writes rows of
  the log (``log_changes``) under it; entries added or changed get it.
- The counters are right where ``counted_modseq`` equals ``modseq``: a process of the release before
  adds to ``modseq`` alone. ``recount`` makes them right.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from posthorn.adapters.postgres.database import Connection, Database
from posthorn.ports.mailbox_hints import Announce, Changed
from posthorn.ports.mailbox_view import DELETED, SEEN

COUNTS = f"""
    count(*) AS messages, count(*) FILTER (WHERE flags & {SEEN} = 0) AS unseen,
    count(*) FILTER (WHERE flags & {DELETED} <> 0) AS deleted, coalesce(sum(size_crlf), 0)::bigint AS octets
"""
"""Aggregates of entries, named as the counters."""
UIDS = "range_agg(int8range(uid, uid, '[]')) AS uids"
"""Aggregate of entries: their UIDs, as the log has them."""

NEW_MODSEQ = "modseq = b.modseq + 1, counted_modseq = b.counted_modseq + 1"
"""Assignments of ``UPDATE mailboxes b``, for a statement that leaves the counters as they are."""
ADD_COUNTS, SUBTRACT_COUNTS = (
    f"{NEW_MODSEQ}, "
    + ", ".join(
        f"{name} = b.{name} {sign} n.{name}" for name in ("messages", "unseen", "deleted", "octets")
    )
    for sign in "+-"
)
"""The same, for a statement that adds or removes the entries that ``n`` counts (``COUNTS``)."""
KEYWORDS = """
    keywords = b.keywords || ARRAY(
        SELECT min(word) FROM unnest(n.keywords) AS word
         WHERE lower(word) NOT IN (SELECT lower(known) FROM unnest(b.keywords) AS known) GROUP BY lower(word)
         ORDER BY min(word)
    )
"""
"""Assignment that adds the keywords of entries that come from other mailboxes, ``n.keywords``."""

_RECOUNT = f"""
    UPDATE mailboxes b
       SET counted_modseq = b.modseq, messages = n.messages, unseen = n.unseen, deleted = n.deleted, octets = n.octets,
           {KEYWORDS}
      FROM (
          SELECT box.mailbox_id, found.*,
                 ARRAY(
                     SELECT DISTINCT word FROM mailbox_entries e, unnest(e.keywords) AS word
                      WHERE e.account_id = $1 AND e.mailbox_id = box.mailbox_id AND e.keywords <> '{{}}'
                 ) AS keywords
            FROM mailboxes box CROSS JOIN LATERAL (
                SELECT {COUNTS} FROM mailbox_entries e WHERE e.account_id = $1 AND e.mailbox_id = box.mailbox_id
            ) AS found
           WHERE box.account_id = $1 AND box.mailbox_id = ANY ($2::integer[]) AND ($3 OR box.counted_modseq <> box.modseq)
      ) AS n
     WHERE b.account_id = $1 AND b.mailbox_id = n.mailbox_id
"""
_WRONG = f"""
    SELECT b.mailbox_id, b.messages, b.unseen, b.deleted, b.octets,
           n.messages AS counted_messages, n.unseen AS counted_unseen, n.deleted AS counted_deleted, n.octets AS counted_octets
      FROM mailboxes b CROSS JOIN LATERAL (
          SELECT {COUNTS} FROM mailbox_entries e WHERE e.account_id = $1 AND e.mailbox_id = b.mailbox_id
      ) AS n
     WHERE b.account_id = $1 AND b.counted_modseq = b.modseq
       AND (b.messages, b.unseen, b.deleted, b.octets) <> (n.messages, n.unseen, n.deleted, n.octets)
     ORDER BY b.mailbox_id
"""


ONCE = "ON CONFLICT (account_id, mailbox_id, modseq, kind) DO UPDATE SET uids = excluded.uids, created_at = now()"
"""Of rows of the change log: one may be there from a former mailbox of this id, which the release
before deleted."""


def log_changes(rows: str, *, standard: bool = False) -> str:
    """Return the statement that writes the ``rows`` (account, mailbox, modseq, kind, UIDs) of a
    query to the change log.

    ``standard``: the mailboxes are those that cannot be deleted, so that no row is there (``ONCE``);
    it saves a WAL record.
    """
    return f"""
        INSERT INTO mailbox_changes (account_id, mailbox_id, modseq, kind, uids) {rows} {"" if standard else ONCE}
    """


class WrongCounters(NamedTuple):
    """A mailbox whose counters were thought right, and are not."""

    mailbox: int
    stored: tuple[int, int, int, int]
    """Messages, unseen, deleted, bytes."""
    counted: tuple[int, int, int, int]


async def recount(
    connection: Connection, account: int, mailboxes: Collection[int], *, all_: bool = False
) -> None:
    """Count mailboxes whose counters are not known to be right; with ``all_`` every one that is
    named. The caller holds the account."""
    await connection.execute(_RECOUNT, account, list(mailboxes), all_)


async def wrong_counters(connection: Connection, account: int) -> Sequence[WrongCounters]:
    """Return the mailboxes of an account whose counters differ from their entries, though no
    process of the release before has written to them."""
    rows = [tuple(row) for row in await connection.fetch(_WRONG, account)]
    return [WrongCounters(row[0], row[1:5], row[5:9]) for row in rows]


@asynccontextmanager
async def changing(
    database: Database, announce: Announce
) -> AsyncIterator[tuple[Connection, list[Changed]]]:
    """Lend a connection inside a transaction, and a list for what it changes, which is announced
    after the commit."""
    changed: list[Changed] = []
    async with database.transaction() as connection:
        yield connection, changed
    if changed:
        announce(changed)


def changed_of(account: int, rows: Collection[Any]) -> list[Changed]:
    """Return the mailboxes of an account in rows of ``mailbox_id`` and ``modseq``."""
    return [(account, row["mailbox_id"], row["modseq"]) for row in rows]
