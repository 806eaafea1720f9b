"""The port Placing on Postgres and blobs: a message is in its mailbox before the reply.

Theory: bodies first, then one transaction writes messages, headers, entries, quota and the change
log. A body whose transaction fails is an orphan (ADR 10).
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from posthorn.adapters.postgres.database import Connection, Database, clean_text
from posthorn.adapters.postgres.imap.charging import charge_statement, tell_directory
from posthorn.adapters.postgres.imap.forms import (
    KEEP_HEADERS,
    frames,
    header_of,
)
from posthorn.adapters.postgres.imap.rows import (
    Tally,
    add,
    admit_keywords,
    lock_account,
    mailbox_by_name,
    spelled,
)
from posthorn.adapters.postgres.imap.shared_segments import SharedSegments
from posthorn.adapters.postgres.mailboxes.delivery import insert_messages
from posthorn.model.blob_range import BlobRange
from posthorn.model.envelope import Body, Envelope
from posthorn.model.stored_header import LONGEST_HEADER_BYTES
from posthorn.ports.blobs import SEGMENTS, Blobs
from posthorn.ports.mailbox_view import DELETED, SEEN, MailboxGone, NoRoom
from posthorn.ports.placing import NewMessage, Placed, Uploaded
from posthorn.ports.segments import Segment, SegmentMessage
from posthorn.runtime.ids import new_id
from posthorn.wire.message.header import SCAN_LIMIT, scan_header

_CHECK = """
    SELECT a.quota_bytes, a.used_bytes, b.mailbox_id IS NOT NULL AS is_there
      FROM accounts a LEFT JOIN mailboxes b ON b.account_id = a.id AND b.name = $2 WHERE a.id = $1
"""
# Keywords hold no spaces (RFC 9051 §9, flag-keyword). One statement for all that needs no answer of
# another one: each costs a wait.
_ENTER = f"""
    WITH headers AS ({KEEP_HEADERS}), entries AS (
        INSERT INTO mailbox_entries (account_id, mailbox_id, uid, message_id, size_crlf, flags, keywords, internal_date, modseq)
        SELECT $5, $6, $7 + e.place - 1, e.message_id, e.size_crlf, e.flags,
               CASE WHEN e.keywords = '' THEN '{{}}' ELSE string_to_array(e.keywords, ' ') END,
               coalesce(e.internal_date, now()), $8
          FROM unnest($9::uuid[], $10::bigint[], $11::integer[], $12::text[], $13::timestamptz[]) WITH ORDINALITY
               AS e (message_id, size_crlf, flags, keywords, internal_date, place)
    ), charged AS ({charge_statement("$5", "$3", "$4")})
    SELECT crossed FROM charged
"""


@dataclass(frozen=True, slots=True)
class _Body:
    """A message whose body is in the blob store."""

    message: NewMessage
    placed: SegmentMessage
    segment: UUID
    header: bytes | None


class PostgresPlacing:
    """See the port. ``compress`` makes a zstd frame, or is None; ``spool`` is the directory of
    temporary files, None for the system's."""

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        compress: Callable[[bytes], bytes] | None = None,
        *,
        spool: Path | None = None,
    ) -> None:
        self._spool = spool
        self._database = database
        self._blobs = blobs
        self._segments = SharedSegments(blobs, compress)

    async def upload(self, pieces: AsyncIterator[bytes]) -> Uploaded:
        """Put a large message into the blob store, by way of a temporary file: its size must be
        known before."""
        key = f"{SEGMENTS}{new_id()}"
        facts, head, before, size, has_dot_lines = hashlib.sha256(), b"", b"\r\n", 0, False
        with tempfile.TemporaryFile(dir=self._spool) as spool:
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
        self, account: int, mailbox: str, messages: Sequence[NewMessage]
    ) -> Placed | None:
        """Place messages, all or none."""
        size = sum(_size(message) for message in messages)
        bodies, segments = await self._stored(account, messages)
        async with self._database.transaction() as connection:
            try:
                owner = await lock_account(connection, account)
            except MailboxGone:
                return None
            box = await mailbox_by_name(connection, account, mailbox)
            if box is None:
                return None
            quota = owner["quota_bytes"]
            if quota is not None and owner["used_bytes"] + size > quota:
                raise NoRoom
            there = await admit_keywords(
                connection, account, box, [word for each in messages for word in each.keywords]
            )
            tally = Tally(
                len(messages),
                sum(not each.flags & SEEN for each in messages),
                sum(bool(each.flags & DELETED) for each in messages),
                size,
            )
            first, modseq = await add(connection, account, box["mailbox_id"], tally)
            placed = [(each.segment, each.placed) for each in bodies]
            placed.sort(key=lambda pair: pair[1].envelope.id)
            await insert_messages(connection, placed, segments)
            position = account, box["mailbox_id"], first, modseq
            if await _enter(connection, position, size, bodies, there):
                await tell_directory(connection, owner["address"])
        uids = range(first, first + len(messages))
        return Placed(box["mailbox_id"], box["uidvalidity"], uids, modseq)

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
            message = SegmentMessage(envelope, place, (account,))
            bodies.append(_Body(each, message, segment, header_of(head)))
        return bodies, segments


async def _enter(
    connection: Connection,
    position: tuple[int, int, int, int],
    size: int,
    bodies: Sequence[_Body],
    there: Sequence[str],
) -> bool:
    """Write entries and headers, and charge the account; return whether a step of its room was
    crossed. ``position``: account, mailbox, first UID and modseq."""
    kept = frames((each.placed.envelope.id, each.header) for each in bodies if each.header)
    crossed = await connection.fetchval(
        _ENTER,
        list(kept),
        list(kept.values()),
        size,
        len(bodies),
        *position,
        [each.placed.envelope.id for each in bodies],
        [each.placed.envelope.body.size for each in bodies],
        [each.message.flags for each in bodies],
        [" ".join(spelled(each.message.keywords, there)) for each in bodies],
        [each.message.internal_date for each in bodies],
    )
    return bool(crossed)


def _size(message: NewMessage) -> int:
    if message.content is not None:
        return len(message.content)
    return 0 if message.upload is None else message.upload.size
