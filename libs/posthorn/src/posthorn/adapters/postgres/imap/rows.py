"""What every change by IMAP shares: the locks, and the rows of mailboxes and of their change log.

Theory:

- A change locks the row of the account first, like every writer of entries. Under that lock the
  rows of its mailboxes and entries stay as they are, so that what is read by one statement is right
  for the next.
- ``advance`` is the only place here that gives UIDs and modseqs to added and removed entries: it
  adds one to ``modseq`` and to ``counted_modseq``, maintains the counters, and writes the row of the
  change log (ADR 33).
- UIDs of a whole mailbox come as one bytea of 4 bytes each: an array of integers would stop the
  event loop for a tenth of a second for a million.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import asyncpg

from posthorn.adapters.postgres.database import Connection
from posthorn.adapters.postgres.mailboxes.changes import ONCE
from posthorn.ports.mailbox_view import (
    MOST_KEYWORD_BYTES,
    MOST_KEYWORDS,
    ChangeKind,
    MailboxGone,
    NoUids,
    TooManyKeywords,
)
from posthorn.wire.imap.sequence_set import Range, ranges_of

SLICE = 10_000
"""Most entries of one statement: each has its own time limit."""

UIDS = """
    coalesce(string_agg(int4send((e.uid - CASE WHEN e.uid > 2147483647 THEN 4294967296 ELSE 0 END)::int4), ''), '')
"""
"""Expression of the UIDs of ``e``, in its order, as one bytea (``decode_uids``)."""

LOCK_ACCOUNT = """
    SELECT a.address, a.quota_bytes, a.used_bytes, d.undelete_days
      FROM accounts a JOIN domains d ON d.id = a.domain_id WHERE a.id = $1 FOR NO KEY UPDATE OF a
"""
BOX = """
    SELECT mailbox_id, name, role, uidvalidity, uidnext, modseq, keywords, counted_modseq = modseq AS is_counted,
           messages, unseen, deleted, octets
      FROM mailboxes WHERE account_id = $1
"""
_BY_ID = f"{BOX} AND mailbox_id = $2"
_BY_NAME = f"{BOX} AND name = $2"

LAST_UIDNEXT = (1 << 32) - (1 << 28)
"""Where APPEND, COPY and MOVE end: the last 2^28 UIDs are for delivery, which must not fail."""

_ADVANCE = f"""
    WITH box AS (
        UPDATE mailboxes
           SET uidnext = uidnext + $3, modseq = modseq + 1, counted_modseq = counted_modseq + 1,
               messages = messages + $4, unseen = unseen + $5, deleted = deleted + $6, octets = octets + $7
         WHERE account_id = $1 AND mailbox_id = $2 AND ($3::bigint = 0 OR uidnext + $3 <= $10)
        RETURNING uidnext - $3 AS first, modseq
    ), logged AS (
        INSERT INTO mailbox_changes (account_id, mailbox_id, modseq, kind, uids)
        SELECT $1, $2, box.modseq, $8,
               coalesce($9::int8multirange, int8multirange(int8range(box.first, box.first + $3)))
          FROM box
        {ONCE}
    )
    SELECT first, modseq FROM box
"""
_SET_KEYWORDS = "UPDATE mailboxes SET keywords = $3 WHERE account_id = $1 AND mailbox_id = $2"

type Row = Any
"""A row as the driver returns it."""


@dataclass(slots=True)
class Tally:
    """Sums of some entries."""

    messages: int = 0
    unseen: int = 0
    deleted: int = 0
    octets: int = 0


async def lock_account(connection: Connection, account: int) -> Row:
    """Lock an account's row until the end of the transaction and return it. Raises MailboxGone
    when there is none."""
    row = await connection.fetchrow(LOCK_ACCOUNT, account)
    if row is None:
        raise MailboxGone
    return row


async def mailbox_by_id(connection: Connection, account: int, mailbox: int) -> Row:
    """Return a mailbox's row. Raises MailboxGone."""
    row = await connection.fetchrow(_BY_ID, account, mailbox)
    if row is None:
        raise MailboxGone
    return row


async def mailbox_by_name(connection: Connection, account: int, name: str) -> Row | None:
    """Return a mailbox's row; None when there is none."""
    return await connection.fetchrow(_BY_NAME, account, name)


async def add(connection: Connection, account: int, mailbox: int, tally: Tally) -> tuple[int, int]:
    """Take UIDs for entries that the caller adds; return the first one and the modseq. Raises
    NoUids."""
    row: Any = await connection.fetchrow(
        _ADVANCE,
        account,
        mailbox,
        tally.messages,
        *_sums(tally, 1),
        ChangeKind.ADDED,
        None,
        LAST_UIDNEXT,
    )
    if row is None:  # the mailbox is there, since the caller holds the account
        raise NoUids
    return row["first"], row["modseq"]


async def take_out(
    connection: Connection, account: int, mailbox: int, tally: Tally, uids: Iterable[int]
) -> int:
    """Record that the caller takes entries out, by ascending UIDs; return the modseq."""
    row: Any = await connection.fetchrow(
        _ADVANCE,
        account,
        mailbox,
        0,
        *_sums(tally, -1),
        ChangeKind.REMOVED,
        multirange(ranges_of(uids)),
        LAST_UIDNEXT,
    )
    return int(row["modseq"])


async def admit_keywords(
    connection: Connection, account: int, box: Row, keywords: Iterable[str]
) -> list[str]:
    """Let a mailbox have keywords; return all of its keywords.

    Keywords differ by more than case; the first spelling is kept (RFC 9051 §2.3.2). Raises
    TooManyKeywords.
    """
    there = list(box["keywords"])
    known = {each.lower() for each in there}
    for keyword in keywords:
        if keyword.lower() not in known:
            known.add(keyword.lower())
            there.append(keyword)
    if len(there) > len(box["keywords"]):
        if len(there) > MOST_KEYWORDS or sum(map(len, there)) > MOST_KEYWORD_BYTES:
            raise TooManyKeywords
        await connection.execute(_SET_KEYWORDS, account, box["mailbox_id"], there)
    return there


def spelled(keywords: Iterable[str], there: Iterable[str]) -> list[str]:
    """Return the keywords once each, as the mailbox spells them."""
    first = {each.lower(): each for each in there}
    return list(dict.fromkeys(first.get(each.lower(), each) for each in keywords))


def multirange(ranges: Iterable[Range]) -> list[asyncpg.Range[int]]:
    """Return ranges of UIDs as the driver takes a multirange."""
    return [asyncpg.Range(low, high + 1) for low, high in ranges]


def decode_uids(octets: bytes) -> array[int]:
    """Return the UIDs of a bytea that ``UIDS`` made."""
    return decode_numbers("I", octets)


def decode_numbers(kind: Literal["I", "Q"], octets: bytes) -> array[int]:
    """Return the numbers of a bytea as ``int4send`` (``I``) or ``int8send`` (``Q``) make them."""
    numbers = array(kind, octets)
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


def slices[T](values: Sequence[T]) -> Iterable[Sequence[T]]:
    """Return the values in parts for one statement each."""
    return (values[start : start + SLICE] for start in range(0, len(values), SLICE))


def _sums(tally: Tally, sign: int) -> tuple[int, int, int, int]:
    return (
        sign * tally.messages,
        sign * tally.unseen,
        sign * tally.deleted,
        sign * tally.octets,
    )
