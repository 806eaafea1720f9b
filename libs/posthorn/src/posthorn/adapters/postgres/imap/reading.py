"""Reading a mailbox: its state, its messages, its changes since a modseq.

Theory:

- Each answer is one statement, so that it shows one moment. Only where counters are not known to
  be right they are counted first, under the account's lock.
- Every statement uses keys, whatever its values: ranges of UIDs lead (``LATERAL … OFFSET 0``), and
  the primary key of the entries follows.
- Rows of the change log that are missing, one for a modseq at least, mean that the history is not
  known (ADR 33).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from itertools import batched
from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.database import Connection, Database
from posthorn.adapters.postgres.imap.forms import FORMS_VERSION, decompressed
from posthorn.adapters.postgres.imap.rows import (
    UIDS,
    decode_numbers,
    decode_uids,
    lock_account,
)
from posthorn.adapters.postgres.mailboxes.changes import recount
from posthorn.model.blob_range import BodyLocation
from posthorn.model.stored_header import LONGEST_KEPT_BYTES
from posthorn.ports.errors import Unavailable
from posthorn.ports.mailbox_view import (
    PAGE,
    Changes,
    Content,
    EntryFlags,
    EntryRow,
    FlagColumns,
    MailboxGone,
    Opened,
    UidRange,
)

MOST_CHANGES = 20_000
"""Most rows of the change log, and most UIDs in them, that ``changes`` returns; of UIDs fewer where
the mailbox has many keywords."""

_OPEN = f"""
    SELECT b.mailbox_id, b.name, b.role, b.uidvalidity, b.uidnext, b.modseq, b.keywords, b.unseen,
           b.counted_modseq = b.modseq AS is_counted,
           (
               SELECT {UIDS}
                 FROM (
                     SELECT uid FROM mailbox_entries WHERE account_id = b.account_id AND mailbox_id = b.mailbox_id ORDER BY uid
                 ) AS e
           ) AS uids,
           CASE WHEN b.unseen > 0 THEN (
               SELECT uid FROM mailbox_entries
                WHERE account_id = b.account_id AND mailbox_id = b.mailbox_id AND flags & 1 = 0 ORDER BY uid LIMIT 1
           ) END AS first_unseen
      FROM mailboxes b WHERE b.account_id = $1
"""
_OPEN_BY_NAME = f"{_OPEN} AND b.name = $2"
_OPEN_BY_ID = f"{_OPEN} AND b.mailbox_id = $2"

# first the row of the mailbox, then those of entries
_CHANGES = """
    WITH log AS MATERIALIZED (
        SELECT modseq, kind, uids FROM mailbox_changes
         WHERE account_id = $1 AND mailbox_id = $2 AND modseq > $3 ORDER BY modseq LIMIT $4::bigint + 1
    ), merged AS MATERIALIZED (
        SELECT count(*) AS entries, count(DISTINCT modseq) AS steps,
               range_agg(uids) FILTER (WHERE kind = 0) AS added,
               range_agg(uids) FILTER (WHERE kind < 2) AS touched,
               range_agg(uids) FILTER (WHERE kind = 2) AS removed
          FROM log
    ), box AS MATERIALIZED (
        SELECT b.modseq, b.uidnext, b.keywords,
               merged.entries <= $4 AND b.modseq - $3 = merged.steps
               AND (SELECT coalesce(sum(upper(r) - lower(r)), 0) FROM unnest(merged.touched) AS r)
                   <= $4 / (1 + cardinality(b.keywords) / 8) AS is_known
          FROM mailboxes b, merged WHERE b.account_id = $1 AND b.mailbox_id = $2
    )
    SELECT 0::bigint AS uid, box.modseq, 0 AS flags, box.keywords, false AS is_new, box.uidnext, box.is_known,
           ARRAY (SELECT lower(r) FROM unnest(merged.removed) AS r) AS first,
           ARRAY (SELECT upper(r) - 1 FROM unnest(merged.removed) AS r) AS last
      FROM box, merged
    UNION ALL
    SELECT e.uid, e.modseq, e.flags, e.keywords, coalesce(merged.added @> e.uid, false), NULL, NULL, NULL, NULL
      FROM box
      JOIN merged ON box.is_known
      CROSS JOIN LATERAL unnest(merged.touched) AS r
      CROSS JOIN LATERAL (
          SELECT uid, modseq, flags, keywords FROM mailbox_entries
           WHERE account_id = $1 AND mailbox_id = $2 AND uid >= lower(r) AND uid < upper(r) OFFSET 0
      ) AS e
     ORDER BY uid
"""
_MOVED_ON = """
    SELECT w.account_id, w.mailbox_id, b.modseq
      FROM unnest($1::bigint[], $2::integer[], $3::bigint[]) AS w (account_id, mailbox_id, modseq)
      LEFT JOIN mailboxes b ON b.account_id = w.account_id AND b.mailbox_id = w.mailbox_id
     WHERE b.modseq IS DISTINCT FROM w.modseq
"""
_ENTRIES = """
    SELECT e.* FROM unnest($3::bigint[], $4::bigint[]) AS r (low, high)
     CROSS JOIN LATERAL (
         SELECT {columns} FROM mailbox_entries
          WHERE account_id = $1 AND mailbox_id = $2 AND uid >= r.low AND uid <= r.high AND modseq > $5 OFFSET 0
     ) AS e
     ORDER BY e.uid
"""
_FLAGS = _ENTRIES.format(columns="uid, flags, keywords, modseq")
_ROWS = _ENTRIES.format(
    columns="uid, message_id, size_crlf, flags, keywords, internal_date, modseq, saved_at"
)
# A row for each range: a range is read in the order of the key, without a sort. Keywords hold no
# spaces (RFC 9051 §9, flag-keyword).
_FLAG_COLUMNS = f"""
    SELECT found.* FROM unnest($3::bigint[], $4::bigint[]) AS r (low, high)
     CROSS JOIN LATERAL (
         SELECT {UIDS} AS uids, string_agg(int4send(e.flags), '') AS flags,
                string_agg(int8send(e.modseq), '') AS modseqs,
                array_agg(e.uid) FILTER (WHERE e.keywords <> '{{}}') AS worded,
                array_agg(array_to_string(e.keywords, ' ')) FILTER (WHERE e.keywords <> '{{}}') AS words
           FROM (
               SELECT uid, flags, keywords, modseq FROM mailbox_entries
                WHERE account_id = $1 AND mailbox_id = $2 AND uid >= r.low AND uid <= r.high AND modseq > $5 ORDER BY uid
           ) AS e
     ) AS found
     WHERE found.flags IS NOT NULL
     ORDER BY r.low
"""
_CONTENTS = """
    SELECT e.uid, e.message_id, s.key, m.offset_octets, m.stored_octets, m.encoding, m.size_crlf, m.has_dot_lines,
           {header} AS header, {envelope} AS envelope, {structure} AS structure
      FROM unnest($3::bigint[]) AS w (uid)
     CROSS JOIN LATERAL (
         SELECT uid, message_id FROM mailbox_entries
          WHERE account_id = $1 AND mailbox_id = $2 AND uid = w.uid
         OFFSET 0
     ) AS e
      JOIN messages m ON m.id = e.message_id
      LEFT JOIN segments s ON s.id = m.segment_id
      {joins}
"""
# what was kept before there was a limit may be longer
_KEPT = f"CASE WHEN octet_length({{0}}) <= {LONGEST_KEPT_BYTES} THEN {{0}} END"
_HEADER = "LEFT JOIN message_headers h ON h.message_id = e.message_id"
_FORMS = (
    f"LEFT JOIN message_structures t ON t.message_id = e.message_id AND t.version = {FORMS_VERSION}"
)
_EXISTS = "SELECT FROM mailboxes WHERE account_id = $1 AND mailbox_id = $2"


class MailboxReading:
    """The methods of the port MailboxView that change nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, account: int, name: str) -> tuple[int, Opened] | None:
        """Return a mailbox by name."""
        row = await self._opened(_OPEN_BY_NAME, account, name)
        return None if row is None else (row["mailbox_id"], _as_opened(row))

    async def reopen(self, account: int, mailbox: int) -> Opened:
        """Return a mailbox by id."""
        row = await self._opened(_OPEN_BY_ID, account, mailbox)
        if row is None:
            raise MailboxGone
        return _as_opened(row)

    async def _opened(self, query: str, account: int, which: str | int) -> Any:
        async with self._database.session() as connection:
            row = await connection.fetchrow(query, account, which)
        if row is None or row["is_counted"]:
            return row
        async with self._database.transaction() as connection:
            await lock_account(connection, account)
            await recount(connection, account, [row["mailbox_id"]])
            return await connection.fetchrow(query, account, which)

    async def changes(self, account: int, mailbox: int, since: int) -> Changes | None:
        """Return the changes of the mailbox; None when the log does not tell all of it."""
        async with self._database.session() as connection:
            rows = await connection.fetch(_CHANGES, account, mailbox, since, MOST_CHANGES)
        if not rows:
            raise MailboxGone
        box, *entries = rows
        if not box["is_known"]:
            return None
        return Changes(
            modseq=box["modseq"],
            uidnext=box["uidnext"],
            keywords=tuple(box["keywords"]),
            added=[row["uid"] for row in entries if row["is_new"]],
            changed=[_as_flags(row) for row in entries],
            removed=list(zip(box["first"], box["last"], strict=True)),
        )

    async def moved_on(
        self, asked: Collection[tuple[int, int, int]]
    ) -> Mapping[tuple[int, int], int | None]:
        """Compare modseqs, a page in each statement."""
        found: dict[tuple[int, int], int | None] = {}
        async with self._database.session() as connection:
            for some in batched(asked, PAGE, strict=False):
                columns = [list(column) for column in zip(*some, strict=True)]
                for account, mailbox, modseq in await connection.fetch(_MOVED_ON, *columns):
                    found[account, mailbox] = modseq
        return found

    async def flags(
        self, account: int, mailbox: int, ranges: Sequence[UidRange], changed_since: int = 0
    ) -> Sequence[EntryFlags]:
        """Return flags."""
        rows = await self._entries(_FLAGS, account, mailbox, ranges, changed_since)
        return [_as_flags(row) for row in rows]

    async def flag_columns(
        self, account: int, mailbox: int, ranges: Sequence[UidRange], changed_since: int = 0
    ) -> FlagColumns:
        """Return flags by columns."""
        rows = await self._entries(_FLAG_COLUMNS, account, mailbox, ranges, changed_since)
        keywords = {
            uid: tuple(words.split(" "))
            for row in rows
            if row["worded"]
            for uid, words in zip(row["worded"], row["words"], strict=True)
        }
        return FlagColumns(
            decode_numbers("I", b"".join([row["uids"] for row in rows])),
            decode_numbers("I", b"".join([row["flags"] for row in rows])),
            decode_numbers("Q", b"".join([row["modseqs"] for row in rows])),
            keywords,
        )

    async def rows(
        self, account: int, mailbox: int, ranges: Sequence[UidRange], changed_since: int = 0
    ) -> Sequence[EntryRow]:
        """Return entries."""
        rows = await self._entries(_ROWS, account, mailbox, ranges, changed_since)
        return [
            EntryRow(uid, message, size, flags, tuple(keywords), internal_date, modseq, saved_at)
            for uid, message, size, flags, keywords, internal_date, modseq, saved_at in rows
        ]

    async def _entries(
        self, query: str, account: int, mailbox: int, ranges: Sequence[UidRange], since: int
    ) -> Sequence[Any]:
        low, high = [first for first, _ in ranges], [last for _, last in ranges]
        async with self._database.session() as connection:
            rows = await connection.fetch(query, account, mailbox, low, high, since)
            if not rows:  # the entries of a mailbox go with it
                await _check_there(connection, account, mailbox)
        return rows

    async def contents(
        self, account: int, mailbox: int, uids: Sequence[int], *, header: bool, forms: bool
    ) -> Mapping[int, Content]:
        """Return content."""
        query = _CONTENTS.format(
            header=_KEPT.format("h.header") if header else "NULL::bytea",
            envelope=_KEPT.format("t.envelope") if forms else "NULL::bytea",
            structure=_KEPT.format("t.structure") if forms else "NULL::bytea",
            joins=f"{_HEADER if header else ''} {_FORMS if forms else ''}",
        )
        async with self._database.session() as connection:
            rows = await connection.fetch(query, account, mailbox, list(uids))
            if not rows:
                await _check_there(connection, account, mailbox)
        return {row[0]: _as_content(*row) for row in rows}


async def _check_there(connection: Connection, account: int, mailbox: int) -> None:
    if not await connection.fetch(_EXISTS, account, mailbox):
        raise MailboxGone


def _as_opened(row: Any) -> Opened:
    return Opened(
        name=row["name"],
        role=row["role"],
        uidvalidity=row["uidvalidity"],
        uidnext=row["uidnext"],
        modseq=row["modseq"],
        keywords=tuple(row["keywords"]),
        uids=decode_uids(row["uids"]),
        unseen=row["unseen"],
        first_unseen=row["first_unseen"],
    )


def _as_flags(row: Any) -> EntryFlags:
    return EntryFlags(row["uid"], row["flags"], tuple(row["keywords"]), row["modseq"])


def _as_content(
    uid: int,
    message: UUID,
    key: str | None,
    offset: int,
    length: int,
    encoding: str,
    size: int,
    has_dot_lines: bool,
    header: bytes | None,
    envelope: bytes | None,
    structure: bytes | None,
) -> Content:
    """Return the content of a row of ``_CONTENTS``, whose columns these are."""
    if key is None:
        detail = f"the message {message} is referenced but has no segment"
        raise Unavailable("postgres", detail)
    location = BodyLocation(message, key, offset, length, encoding, size, has_dot_lines)
    kept_header = None if header is None else partial(decompressed, header)
    return Content(location, kept_header, envelope, structure)
