"""The port Placing on Postgres and blobs: a message is in its mailbox before the reply.

Theory: bodies first, then one transaction writes messages, headers, entries, quota and the change
log; nearly always it is a single statement. A body whose transaction fails is an orphan (ADR 10).
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from posthorn.adapters.postgres.database import Connection, Database, clean_text
from posthorn.adapters.postgres.imap.charging import charge_statement, tell_directory
from posthorn.adapters.postgres.imap.forms import frame_of, header_of
from posthorn.adapters.postgres.imap.moving import remove_all
from posthorn.adapters.postgres.imap.rows import (
    LAST_UIDNEXT,
    Row,
    Tally,
    add,
    admit_keywords,
    lock_account,
    mailbox_by_name,
    spelled,
)
from posthorn.adapters.postgres.imap.shared_segments import SharedSegments
from posthorn.adapters.postgres.mailboxes.changes import log_changes
from posthorn.adapters.postgres.mailboxes.delivery import (
    insert_messages,
    message_columns,
    message_steps,
)
from posthorn.model.blob_range import BlobRange
from posthorn.model.envelope import Body, Envelope
from posthorn.model.room import crossed_sql
from posthorn.model.stored_header import LONGEST_HEADER_BYTES
from posthorn.ports.blobs import SEGMENTS, Blobs
from posthorn.ports.mailbox_view import DELETED, SEEN, ChangeKind, MailboxGone, NoRoom
from posthorn.ports.placing import NewMessage, Placed, ReplacedGone, Uploaded
from posthorn.ports.segments import Segment, SegmentMessage
from posthorn.runtime.ids import new_id
from posthorn.wire.message.header import SCAN_LIMIT, scan_header

_CHECK = """
    SELECT a.quota_bytes, a.used_bytes, b.mailbox_id IS NOT NULL AS is_there
      FROM accounts a LEFT JOIN mailboxes b ON b.account_id = a.id AND b.name = $2 WHERE a.id = $1
"""
# Keywords hold no spaces (RFC 9051 §9, flag-keyword).
_ENTRIES = """
    INSERT INTO mailbox_entries (account_id, mailbox_id, uid, message_id, size_crlf, flags, keywords, internal_date, modseq)
    SELECT {account}, box.mailbox_id, box.first + e.place - 1, e.message_id, e.size_crlf, e.flags,
           CASE WHEN e.keywords = '' THEN '{{}}' ELSE string_to_array(e.keywords, ' ') END,
           coalesce(e.internal_date, now()), box.modseq
      FROM box, unnest({ids}::uuid[], {sizes}::bigint[], {flags}::integer[], {keywords}::text[], {dates}::timestamptz[])
                WITH ORDINALITY AS e (message_id, size_crlf, flags, keywords, internal_date, place)
"""
_ENTER = f"""
    WITH box AS (
        SELECT $4::integer AS mailbox_id, $5::bigint AS first, $6::bigint AS modseq
    ), entries AS (
        {_ENTRIES.format(account="$1", ids="$7", sizes="$8", flags="$9", keywords="$10", dates="$11")}
    ), charged AS ({charge_statement("$1", "$2", "$3")})
    SELECT crossed FROM charged
"""
# All of ``place`` for messages that need nothing else: the mailbox is there and has their keywords,
# there is room, and the directory need not learn of it. Each statement of a transaction costs a wait
# and as much CPU as all of its rows. Under the lock of the account the row of the mailbox is the
# newest, whatever the statement saw at its begin (READ COMMITTED); where it is not as told, nothing
# is written.
_PLACE = f"""
    WITH owner AS MATERIALIZED (
        SELECT quota_bytes, used_bytes FROM accounts WHERE id = $23::bigint FOR NO KEY UPDATE
    ), box AS (
        UPDATE mailboxes b
           SET uidnext = b.uidnext + $25, modseq = b.modseq + 1, counted_modseq = b.counted_modseq + 1,
               messages = b.messages + $25, unseen = b.unseen + $26, deleted = b.deleted + $27, octets = b.octets + $28
          FROM owner
         WHERE b.account_id = $23 AND b.name = $24 AND b.uidnext + $25::bigint <= $29 AND b.keywords @> $30::text[]
           AND (
               owner.quota_bytes IS NULL
               OR owner.used_bytes + $28::bigint <= owner.quota_bytes
                  AND NOT {
    crossed_sql("owner.quota_bytes", "owner.used_bytes + $28::bigint", "owner.used_bytes")
}
           )
        RETURNING b.mailbox_id, b.uidvalidity, b.uidnext - $25 AS first, b.modseq
    ), charged AS (
        UPDATE accounts a SET used_bytes = a.used_bytes + $28, used_messages = a.used_messages + $25
          FROM box WHERE a.id = $23
    ), logged AS (
        {
    log_changes(
        f"SELECT $23, mailbox_id, modseq, {ChangeKind.ADDED}, int8multirange(int8range(first, first + $25)) FROM box"
    )
}
    ), {message_steps("WHERE EXISTS (SELECT FROM box)")}, entries AS (
        {
    _ENTRIES.format(account="$23", ids="$31", sizes="$32", flags="$33", keywords="$34", dates="$35")
}
    )
    SELECT mailbox_id, uidvalidity, first, modseq FROM box
"""


@dataclass(frozen=True, slots=True)
class _Body:
    """A message whose body is in the blob store."""

    message: NewMessage
    placed: SegmentMessage
    segment: UUID


class PostgresPlacing:
    """See the port. ``compress`` makes a zstd frame, or is None."""

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        compress: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._segments = SharedSegments(blobs, compress)

    async def upload(self, pieces: AsyncIterator[bytes]) -> Uploaded:
        """Put a large message into the blob store, by way of a temporary file: its size must be
        known before."""
        key = f"{SEGMENTS}{new_id()}"
        facts, head, before, size, has_dot_lines = hashlib.sha256(), b"", b"\r\n", 0, False
        with tempfile.TemporaryFile() as spool:
            async for piece in pieces:
                await asyncio.to_thread(spool.write, piece)
                facts.update(piece)
                head += piece[: LONGEST_HEADER_BYTES - len(head)]
                size += len(piece)
                # a line end may be cut
                has_dot_lines = has_dot_lines or b"\r\n." in before + piece
                before = (before + piece)[-2:]
            spool.seek(0)
            await self._blobs.put_file(key, spool, size)
        return Uploaded(key, size, facts.digest(), head, has_dot_lines)

    async def check(self, account: int, mailbox: str, size_bytes: int) -> bool:
        """Return whether there is such a mailbox, and room."""
        async with self._database.session() as connection:
            row = await connection.fetchrow(_CHECK, account, clean_text(mailbox))
        if row is None or not row["is_there"]:
            return False
        if row["quota_bytes"] is not None and row["used_bytes"] + size_bytes > row["quota_bytes"]:
            raise NoRoom
        return True

    async def place(
        self,
        account: int,
        mailbox: str,
        messages: Sequence[NewMessage],
        replaced: tuple[int, int] | None = None,
    ) -> Placed | None:
        """Place messages, all or none; remove the one that they replace."""
        bodies, segments = await self._stored(account, messages)
        placing = _Placing(account, clean_text(mailbox), bodies, segments)
        if replaced is not None:
            async with self._database.transaction() as connection:
                return await placing.in_place_of(connection, replaced)
        async with self._database.session() as connection:
            placed = await placing.at_once(connection)
        if placed is not None:
            return placed
        async with self._database.transaction() as connection:
            return await placing.in_steps(connection)

    async def _stored(
        self, account: int, messages: Sequence[NewMessage]
    ) -> tuple[list[_Body], list[Segment]]:
        """Write what is not written yet, as part of one segment."""
        contents = [each.content for each in messages if each.content is not None]
        written = await self._segments.write(contents) if contents else None
        ranges = iter(written.ranges if written else ())
        bodies: list[_Body] = []
        segments: list[Segment] = []
        if written:
            segments.append(Segment(written.segment, written.key, written.octets, ()))
        for each in messages:
            upload = each.upload
            if each.content is not None and written is not None:
                facts, head = Body.from_message(each.content), each.content
                segment, place = written.segment, next(ranges)
            elif upload is not None:
                facts = Body(upload.size, upload.sha256, upload.has_dot_lines)
                head, place = upload.header, BlobRange(0, upload.size)
                segment = UUID(upload.key.removeprefix(SEGMENTS))
                segments.append(Segment(segment, upload.key, upload.size, ()))
            else:
                raise ValueError("a message has content, or it was uploaded")
            envelope = Envelope(
                id=new_id(),
                received_at=time.time(),
                reverse_path="",
                recipients=(),
                body=facts,
                summary=scan_header(head[:SCAN_LIMIT]).summary,
                role="append",
            )
            header = header_of(head)
            message = SegmentMessage(
                envelope, place, (account,), header=None if header is None else frame_of(header)
            )
            bodies.append(_Body(each, message, segment))
        return bodies, segments


class _Placing:
    """Messages whose bodies are stored, on their way into a mailbox."""

    def __init__(
        self, account: int, mailbox: str, bodies: Sequence[_Body], segments: Sequence[Segment]
    ) -> None:
        self._account = account
        self._mailbox = mailbox
        self._bodies = bodies
        self._segments = segments
        messages = [each.message for each in bodies]
        self._keywords = list(dict.fromkeys(word for each in messages for word in each.keywords))
        self._tally = Tally(
            len(messages),
            sum(not each.flags & SEEN for each in messages),
            sum(bool(each.flags & DELETED) for each in messages),
            sum(map(_size, messages)),
        )

    async def at_once(self, connection: Connection) -> Placed | None:
        """Place them by one statement, which is a transaction of its own; None: they need more, and
        nothing was changed."""
        tally = self._tally
        row: Any = await connection.fetchrow(
            _PLACE,
            *message_columns(self._in_order(), self._segments),
            self._account,
            self._mailbox,
            tally.messages,
            tally.unseen,
            tally.deleted,
            tally.octets,
            LAST_UIDNEXT,
            self._keywords,
            *self._entries(self._keywords),
        )
        return None if row is None else self._placed(row, row["first"], row["modseq"])

    async def in_steps(self, connection: Connection) -> Placed | None:
        """Place them in the caller's transaction."""
        account, tally = self._account, self._tally
        try:
            owner = await lock_account(connection, account)
        except MailboxGone:
            return None
        box = await mailbox_by_name(connection, account, self._mailbox)
        if box is None:
            return None
        quota = owner["quota_bytes"]
        if quota is not None and owner["used_bytes"] + tally.octets > quota:
            raise NoRoom
        there = await admit_keywords(connection, account, box, self._keywords)
        first, modseq = await add(connection, account, box["mailbox_id"], tally)
        await insert_messages(connection, self._in_order(), self._segments)
        sums = tally.octets, tally.messages
        position = box["mailbox_id"], first, modseq
        if await connection.fetchval(_ENTER, account, *sums, *position, *self._entries(there)):
            await tell_directory(connection, owner["address"])
        return self._placed(box, first, modseq)

    async def in_place_of(self, connection: Connection, replaced: tuple[int, int]) -> Placed | None:
        """Place them in the caller's transaction, and remove the message ``replaced``: before, so that
        messages and segments are locked in the order of their ids, which grow with time."""
        account = self._account
        owner = await lock_account(connection, account)
        if await mailbox_by_name(connection, account, self._mailbox) is None:
            return None
        removed = await remove_all(connection, owner, account, replaced[0], [replaced[1]])
        if not removed:
            raise ReplacedGone
        placed = await self.in_steps(connection)
        return placed and replace(placed, left=removed[0][2])

    def _placed(self, box: Row, first: int, modseq: int) -> Placed:
        uids = range(first, first + self._tally.messages)
        return Placed(box["mailbox_id"], box["uidvalidity"], uids, modseq)

    def _in_order(self) -> list[tuple[UUID, SegmentMessage]]:
        placed = [(each.segment, each.placed) for each in self._bodies]
        return sorted(placed, key=lambda pair: pair[1].envelope.id)

    def _entries(self, there: Sequence[str]) -> list[list[Any]]:
        """Return the values of the entries; ``there``: the keywords of the mailbox."""
        bodies = self._bodies
        return [
            [each.placed.envelope.id for each in bodies],
            [each.placed.envelope.body.size for each in bodies],
            [each.message.flags for each in bodies],
            [" ".join(spelled(each.message.keywords, there)) for each in bodies],
            [each.message.internal_date for each in bodies],
        ]


def _size(message: NewMessage) -> int:
    if message.content is not None:
        return len(message.content)
    return 0 if message.upload is None else message.upload.size
