"""The port Placing on PostgreSQL and blobs: all of an APPEND or nothing, and few PUTs."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from posthorn.adapters.blobs.compression import zstd_frame
from posthorn.adapters.blobs.segments import SegmentReader
from posthorn.adapters.postgres.imap import shared_segments
from posthorn.adapters.postgres.imap.shared_segments import SharedSegments
from posthorn.ports.blobs import Blobs
from posthorn.ports.errors import Unavailable
from posthorn.ports.mailbox_view import (
    DELETED,
    FLAGGED,
    MOST_KEYWORDS,
    SEEN,
    NoRoom,
    TooManyKeywords,
)
from posthorn.ports.placing import NewMessage, Placed, Uploaded
from tests.support.imap_store import DATE, EVERY, ImapStore, new_message

INBOX = 1


class SlowBlobs:
    """A store whose PUTs wait, and may fail: what a real one does when it is far away."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self.gate = asyncio.Event()
        self.put_keys: list[str] = []
        self.fails = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blobs, name)

    async def put(self, key: str, parts: Sequence[bytes]) -> None:
        self.put_keys.append(key)
        await self.gate.wait()
        if self.fails:
            raise Unavailable("blobs", "no")
        await self._blobs.put(key, parts)


async def _content(imap: ImapStore, blobs: Blobs, account: int, uid: int) -> bytes:
    reader = SegmentReader(blobs)
    found = await imap.view.contents(account, INBOX, [uid], header=True, forms=False)
    content = b"".join([piece async for piece in reader.stream(found[uid].location)])
    header = found[uid].header
    assert header is None or content.startswith(header)
    await reader.close()
    return content


async def test_what_is_placed_is_read_as_it_was_sent(imap: ImapStore, file_blobs: Blobs) -> None:
    ada = await imap.account()
    long = b"Subject: a\r\n\r\n" + b"0123456789\r\n" * 100
    dots = b".: no header\r\n.\r\n"
    messages = [
        new_message("one", flags=SEEN | FLAGGED, keywords=("$Sent", "x")),
        NewMessage(long, None, 0, ("$SENT",), None),
        NewMessage(dots, None, DELETED, (), DATE),
        NewMessage(b"\r\n", None, 0, (), DATE),
    ]
    placed = await imap.placing.place(ada, "INBOX", messages)
    assert isinstance(placed, Placed)
    inbox = await imap.folders.find(ada, "INBOX")
    assert inbox is not None
    assert (placed.mailbox, placed.uidvalidity, list(placed.uids)) == (
        1, inbox.uidvalidity, [1, 2, 3, 4],
    )  # fmt: skip
    assert (placed.modseq, inbox.modseq, inbox.unseen, inbox.deleted) == (2, 2, 3, 1)
    assert await imap.held(ada, "INBOX") == [
        (1, SEEN | FLAGGED, ("$Sent", "x")), (2, 0, ("$Sent",)), (3, DELETED, ()), (4, 0, ()),
    ]  # fmt: skip
    for uid, message in enumerate(messages, start=1):
        assert await _content(imap, file_blobs, ada, uid) == message.content
    rows = await imap.view.rows(ada, INBOX, EVERY)
    assert (rows[0].internal_date, rows[0].size) == (DATE, len(messages[0].content or b""))
    assert datetime.now(UTC) - rows[1].internal_date < timedelta(minutes=5)
    assert await imap.seed.used(ada) == (sum(row.size for row in rows), 4)
    (subject, dot_lines), *_ = await imap.seed.rows(
        "SELECT subject, has_dot_lines FROM messages ORDER BY id"
    )
    assert (subject, dot_lines) == ("one", False)
    assert await imap.seed.value("SELECT count(*) FROM message_headers") == 3
    assert await imap.seed.value("SELECT count(*) FROM segments") == 1
    changes = await imap.view.changes(ada, INBOX, 1)
    assert changes is not None
    assert changes.added == [1, 2, 3, 4]


async def test_all_of_them_or_none(imap: ImapStore) -> None:
    ada = await imap.account()
    await imap.put(ada)
    used = await imap.seed.used(ada)
    many = tuple(f"k{number}" for number in range(MOST_KEYWORDS + 1))
    with pytest.raises(TooManyKeywords):
        await imap.placing.place(ada, "INBOX", [new_message(), new_message(keywords=many)])
    size = len(new_message().content or b"")
    await imap.seed.rows("UPDATE accounts SET quota_bytes = used_bytes + $1", 2 * size)
    with pytest.raises(NoRoom):
        await imap.placing.place(ada, "INBOX", [new_message()] * 3)
    with pytest.raises(NoRoom):
        await imap.placing.check(ada, "INBOX", 2 * size + 1)
    assert await imap.placing.check(ada, "INBOX", 2 * size)
    for account, name in ((ada, "nothing"), (4711, "INBOX")):
        assert not await imap.placing.check(account, name, 1)
        assert await imap.placing.place(account, name, [new_message()]) is None
    assert (await imap.seed.used(ada), len(await imap.held(ada, "INBOX"))) == (used, 1)
    await imap.seed.drain_outbox()
    await imap.placing.place(ada, "INBOX", [new_message()] * 2)
    assert await imap.seed.drain_outbox() == ["ada@example.test"]


async def test_a_large_message_is_uploaded_before(imap: ImapStore, file_blobs: Blobs) -> None:
    ada = await imap.account()
    header = b"Subject: large\r\n\r\n"
    content = header + b"0123456789abcdef" * 40_000 + b"\r\n.dot\r\n"

    async def pieces(cut: int) -> AsyncIterator[bytes]:
        for start in range(0, len(content), cut):
            yield content[start : start + cut]

    # the dot that begins a line is the last byte of a piece, or the first
    for cut in (len(content) - 6, len(content) - 5, len(content) - 7, 100_000):
        upload = await imap.placing.upload(pieces(cut))
        assert upload == Uploaded(
            upload.key, len(content), hashlib.sha256(content).digest(), content[: 256 * 1024], True
        )
    small = new_message()
    for _ in range(2):  # the second time, the same blob
        placed = await imap.placing.place(
            ada, "INBOX", [small, NewMessage(None, upload, 0, (), None), small]
        )
        assert placed is not None
    assert await _content(imap, file_blobs, ada, 2) == content
    assert await _content(imap, file_blobs, ada, 5) == content
    found = await imap.view.contents(ada, INBOX, [2], header=True, forms=False)
    assert found[2].header == header
    assert await imap.seed.value("SELECT count(*) FROM segments") == 3
    with pytest.raises(ValueError, match="uploaded"):
        await imap.placing.place(ada, "INBOX", [NewMessage(None, None, 0, (), None)])


class TestSharedSegments:
    async def test_what_comes_together_shares_a_segment_and_the_first_goes_at_once(
        self, file_blobs: Blobs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        slow = SlowBlobs(file_blobs)
        segments = SharedSegments(slow, zstd_frame)
        most = shared_segments.PUTS_AT_ONCE
        callers = [
            asyncio.create_task(segments.write([b"a%d" % number, b"bc" * number]))
            for number in range(most + 6)
        ]
        while len(slow.put_keys) < most:
            await asyncio.sleep(0)
        callers[-1].cancel()  # who leaves takes nothing with it
        slow.gate.set()
        done = await asyncio.gather(*callers[:-1])
        assert len(slow.put_keys) == most + 1
        assert len({each.key for each in done[most:]}) == 1
        for number, each in enumerate(done):
            stored = [
                await file_blobs.read(each.key, place.offset, place.length) for place in each.ranges
            ]
            assert stored == [b"a%d" % number, b"bc" * number]
        monkeypatch.setattr(shared_segments, "SEGMENT_BYTES", 4)
        slow.put_keys.clear()
        await asyncio.gather(*(segments.write([b"12"]) for _ in range(8)))
        assert len(slow.put_keys) == most + (8 - most) // 2
        large = await segments.write([b"compress me " * 40_000])
        assert large.octets < 10_000

    async def test_a_segment_that_fails_fails_for_all_in_it(self, file_blobs: Blobs) -> None:
        slow = SlowBlobs(file_blobs)
        slow.fails = True
        slow.gate.set()
        segments = SharedSegments(slow)
        many = await asyncio.gather(
            *(segments.write([b"x"]) for _ in range(9)), return_exceptions=True
        )
        assert all(isinstance(each, Unavailable) for each in many)
        slow.fails = False
        assert (await segments.write([b"x"])).octets == 1
