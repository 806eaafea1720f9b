"""COPY, MOVE and expunging (RFC 9051 §6.4.7, §6.4.8, §6.4.3).

Theory:

- COPY and MOVE are one transaction each under the lock of the account's row, for any number of
  messages, in slices of some thousand for each statement. Expunging takes a transaction for each
  slice, so that deliveries to the account go on meanwhile. A statement that advances a mailbox adds one to its modseq.
- A move changes the key of the entry; what else it holds stays. Source and target may be one
  mailbox: the messages get new UIDs.
- Removal is that of ``mailboxes.expunge``, so that the API can bring messages back within the
  domain's window.
- A message that is moved or copied into Junk is spam to its owner, one out of Junk is not: clients
  without MOVE copy, then expunge.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.database import Connection, Database
from posthorn.adapters.postgres.imap.charging import charge, tell_directory
from posthorn.adapters.postgres.imap.rows import (
    Row,
    Tally,
    add,
    admit_keywords,
    lock_account,
    mailbox_by_id,
    mailbox_by_name,
    slices,
    take_out,
)
from posthorn.adapters.postgres.mailboxes.classifications import classify_all
from posthorn.adapters.postgres.mailboxes.expunge import remove
from posthorn.model.classification import said_by_move
from posthorn.ports.errors import Unavailable
from posthorn.ports.mailbox_hints import Changed
from posthorn.ports.mailbox_view import Copied, Expunged, NoRoom, UidRange
from posthorn.wire.imap.sequence_set import LARGEST

REMOVED_AT_ONCE = 5000
"""Most messages that one transaction removes."""

_WANTED = """
    FROM unnest($3::bigint[]) WITH ORDINALITY AS w (uid, place)
    JOIN mailbox_entries e ON e.account_id = $1 AND e.mailbox_id = $2 AND e.uid = w.uid
"""
_TALLY = f"""
    SELECT coalesce(array_agg(e.uid ORDER BY e.uid), '{{}}') AS uids, coalesce(sum(e.size_crlf), 0)::bigint AS octets,
           count(*) FILTER (WHERE e.flags & 1 = 0) AS unseen, count(*) FILTER (WHERE e.flags & 8 <> 0) AS deleted,
           coalesce(bool_or(e.keywords <> '{{}}'), false) AS has_keywords
    {_WANTED}
"""
_KEYWORDS = f"SELECT DISTINCT k {_WANTED} CROSS JOIN unnest(e.keywords) AS k ORDER BY k"
_MESSAGES = f"SELECT DISTINCT e.message_id {_WANTED}"
# $7: the keywords of the target
_RESPELLED = """
    CASE WHEN e.keywords = '{}' THEN e.keywords ELSE ARRAY (
        SELECT t.k FROM unnest(e.keywords) WITH ORDINALITY AS s (k, n) JOIN unnest($7::text[]) AS t (k) ON lower(t.k) = lower(s.k)
         ORDER BY s.n
    ) END
"""
_MOVE = f"""
    UPDATE mailbox_entries e
       SET mailbox_id = $4, uid = $5 + w.place - 1, modseq = $6, saved_at = now(), keywords = {_RESPELLED}
      FROM unnest($3::bigint[]) WITH ORDINALITY AS w (uid, place)
     WHERE e.account_id = $1 AND e.mailbox_id = $2 AND e.uid = w.uid
"""
_COPY = f"""
    INSERT INTO mailbox_entries (account_id, mailbox_id, uid, message_id, size_crlf, flags, keywords, internal_date, modseq)
    SELECT $1, $4, $5 + w.place - 1, e.message_id, e.size_crlf, e.flags, {_RESPELLED}, e.internal_date, $6
    {_WANTED}
"""
_LOCK_MESSAGES = f"""
    SELECT count(*) FROM (
        SELECT FROM messages WHERE id IN (SELECT e.message_id {_WANTED}) ORDER BY id FOR NO KEY UPDATE
    ) AS locked
"""
_REFER = f"""
    UPDATE messages m SET refs = m.refs + n.entries
      FROM (SELECT e.message_id, count(*) AS entries {_WANTED} GROUP BY e.message_id) AS n
     WHERE m.id = n.message_id
"""
_DELETED = """
    SELECT e.uid FROM unnest($3::bigint[], $4::bigint[]) AS r (low, high)
     CROSS JOIN LATERAL (
         SELECT uid FROM mailbox_entries
          WHERE account_id = $1 AND mailbox_id = $2 AND uid >= greatest(r.low, $5::bigint + 1) AND uid <= r.high
            AND flags & 8 <> 0
          ORDER BY uid LIMIT $6::bigint
     ) AS e
     ORDER BY e.uid LIMIT $6::bigint
"""


async def copy(
    database: Database,
    account: int,
    mailbox: int,
    uids: Sequence[int],
    target: str,
    *,
    move: bool,
) -> Copied | None:
    """Copy or move messages; see ``MailboxView.copy``."""
    async with database.transaction() as connection:
        owner = await lock_account(connection, account)
        source = await mailbox_by_id(connection, account, mailbox)
        into = await mailbox_by_name(connection, account, target)
        if into is None:
            return None
        return await transfer(connection, owner, account, source, into, uids, move=move)


async def transfer(
    connection: Connection,
    owner: Row,
    account: int,
    source: Row,
    into: Row,
    uids: Sequence[int],
    *,
    move: bool,
) -> Copied:
    """Copy or move messages in the caller's transaction, which holds the account (``owner`` as
    ``lock_account`` returned it). Raises NoRoom, TooManyKeywords."""
    mailbox, to = source["mailbox_id"], into["mailbox_id"]
    wanted = sorted(set(uids))
    parts = [await connection.fetchrow(_TALLY, account, mailbox, some) for some in slices(wanted)]
    work = [part for part in parts if part is not None and part["uids"]]
    octets = sum(part["octets"] for part in work)
    quota = owner["quota_bytes"]
    if not move and quota is not None and octets and owner["used_bytes"] + octets > quota:
        raise NoRoom
    keywords = await _keywords(connection, account, mailbox, into, work)
    said = said_by_move([mailbox], to) if to != mailbox else None
    copies: list[int] = []
    spoken_of: set[UUID] = set()
    modseq, left = into["modseq"], source["modseq"] if move else None
    for part in work:
        tally = Tally(len(part["uids"]), part["unseen"], part["deleted"], part["octets"])
        here = account, mailbox, part["uids"]
        if said is not None:
            spoken_of |= {row["message_id"] for row in await connection.fetch(_MESSAGES, *here)}
        if move:
            left = await take_out(connection, account, mailbox, tally, part["uids"])
        first, modseq = await add(connection, account, to, tally)
        if not move:
            await connection.fetchval(_LOCK_MESSAGES, *here)
            await connection.execute(_REFER, *here)
        await connection.execute(_MOVE if move else _COPY, *here, to, first, modseq, keywords)
        copies += range(first, first + tally.messages)
    if not move and work:
        await charge(connection, owner, account, octets, len(copies))
    if said is not None:
        for some in slices(sorted(spoken_of)):
            await classify_all(connection, account, some, said)
    if left is not None and to == mailbox:
        left = modseq
    sources = [uid for part in work for uid in part["uids"]]
    target = into["mailbox_id"]
    return Copied(into["uidvalidity"], modseq, left, sources, copies, target=target)


async def expunge(
    database: Database, account: int, mailbox: int, ranges: Sequence[UidRange] | None
) -> Expunged:
    """Remove messages with ``\\Deleted``; see ``MailboxView.expunge``."""
    within = [(1, LARGEST)] if ranges is None else ranges
    low, high = [first for first, _ in within], [end for _, end in within]
    gone: list[int] = []
    while True:
        try:
            async with database.transaction() as connection:
                owner = await lock_account(connection, account)
                await mailbox_by_id(connection, account, mailbox)
                last = gone[-1] if gone else 0
                rows = await connection.fetch(
                    _DELETED, account, mailbox, low, high, last, REMOVED_AT_ONCE
                )
                uids = [row["uid"] for row in rows]
                await remove_all(connection, owner, account, mailbox, uids)
                box = await mailbox_by_id(connection, account, mailbox)
        except Unavailable as fault:
            fault.nothing_changed = fault.nothing_changed and not gone
            raise
        gone += uids
        if len(uids) < REMOVED_AT_ONCE:
            return Expunged(box["modseq"], gone)


async def remove_all(
    connection: Connection, owner: Row, account: int, mailbox: int, uids: Sequence[int]
) -> Sequence[Changed]:
    """Remove entries in the caller's transaction, which holds the account. Return the mailbox with
    its new modseq, nothing if no entry was there."""
    if not uids:
        return ()
    where = [(mailbox, uid) for uid in uids]
    removed = await remove(connection, account, where, keep=owner["undelete_days"] > 0)
    if removed.below_quota:
        await tell_directory(connection, owner["address"])
    return removed.changed


async def _keywords(
    connection: Connection, account: int, mailbox: int, into: Row, work: Sequence[Any]
) -> list[str]:
    found: dict[str, None] = {}
    for part in work:
        if part["has_keywords"]:
            for row in await connection.fetch(_KEYWORDS, account, mailbox, part["uids"]):
                found[row["k"]] = None
    return await admit_keywords(connection, account, into, found)
