"""Large messages: parts and pieces are ranges of the blob, each byte is read once, and what breaks
off cuts the connection."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import pytest

from posthorn.adapters.blobs import large_bodies
from posthorn.adapters.blobs.segments import SegmentReader
from posthorn.model.blob_range import BodyLocation
from posthorn.ports.blobs import BlobMissing, Blobs
from posthorn.ports.errors import Unavailable
from posthorn.runtime.ids import new_id
from tests.support.imap import ALICE, Dialogue, ImapEnv, imap_env, imap_server

ATTACHMENT = os.urandom(7_000_000)
ENCODED = base64.encodebytes(ATTACHMENT).replace(b"\n", b"\r\n")
LARGE = (
    b"From: a@example.test\r\nSubject: large\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"
    b"--x\r\nContent-Type: text/plain\r\n\r\nSee the attachment.\r\n"
    b"--x\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    b"%s\r\n--x--\r\n" % ENCODED
)
CHUNK = 384 * 1024


class Reads:
    """Counts what is read of blobs."""

    def __init__(self, blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ranges: list[tuple[int, int]] = []
        self.fault: Unavailable | None = None
        self.missing = ""
        """Key of a blob that is not there."""
        self.on_missing: Callable[[], Awaitable[None]]
        read = blobs.read

        async def counting(key: str, offset: int, length: int) -> bytes:
            if self.fault is not None:
                raise self.fault
            if key == self.missing:
                await self.on_missing()
                raise BlobMissing("blobs", key)
            self.ranges.append((offset, length))
            return await read(key, offset, length)

        monkeypatch.setattr(blobs, "read", counting)

    @property
    def octets(self) -> int:
        return sum(length for _, length in self.ranges)


async def append(client: Dialogue, content: bytes) -> None:
    """Append a message."""
    await client.feed(b"x APPEND INBOX {%d+}\r\n" % len(content))
    for start in range(0, len(content), 1 << 20):
        await client.feed(content[start : start + (1 << 20)])
    assert b"x OK [APPENDUID" in await client.feed(b"\r\n")


@pytest.fixture
def reads(mail: ImapEnv, monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(mail.blobs, monkeypatch)


async def test_an_attachment_in_pieces_is_read_once_james_2740(mail: ImapEnv, reads: Reads) -> None:
    client = await mail.client("INBOX")
    await append(client, LARGE)
    header = LARGE[: LARGE.index(b"--x")]
    assert await client.ok("FETCH 1 BODY.PEEK[HEADER]") == [
        b"* 1 FETCH (BODY[HEADER] {%d}\r\n%s)" % (len(header), header)
    ]
    assert reads.octets == 0  # it is kept beside the message
    [structure] = await client.ok("FETCH 1 BODYSTRUCTURE")
    assert b'"BASE64" %d' % len(ENCODED) in structure
    assert reads.octets == len(LARGE)
    assert len(reads.ranges) <= 5
    # iOS goes on past the end; Thunderbird takes a short piece for the end
    found = b""
    for start in range(0, len(ENCODED) + 2 * CHUNK, CHUNK):
        [line] = await client.ok(f"UID FETCH 1 BODY.PEEK[2]<{start}.{CHUNK}>")
        head, _, octets = line.partition(b"}\r\n")
        assert head == b"* 1 FETCH (UID 1 BODY[2]<%d> {%d" % (start, len(octets) - 1)
        found += octets[:-1]
    assert found == ENCODED
    assert reads.octets == len(LARGE)  # from what was read last
    # the structure is kept, so another connection reads what it needs alone
    mail.bodies._large.close()
    reads.ranges.clear()
    other = await mail.client("INBOX")
    assert (await other.ok("FETCH 1 BODY.PEEK[1]"))[0].endswith(b"See the attachment.)")
    assert reads.octets == large_bodies.BLOCK
    for start in range(0, len(LARGE), CHUNK):
        await other.ok(f"FETCH 1 BODY.PEEK[]<{start}.{CHUNK}>")
    assert reads.octets == len(LARGE)
    assert len(reads.ranges) <= 4


async def test_an_attachment_in_pieces_is_read_once_from_s3(
    mail: ImapEnv, s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with imap_env(mail.database, tmp_path / "unused", blobs=s3_url) as store:
        store.accounts = mail.accounts
        reads = Reads(store.blobs, monkeypatch)
        client = await store.client("INBOX")
        await append(client, LARGE)
        found = b""
        for start in range(0, len(LARGE), CHUNK):
            [line] = await client.ok(f"FETCH 1 BODY.PEEK[]<{start}.{CHUNK}>")
            found += line.partition(b"}\r\n")[2][:-1]
        assert found == LARGE
        assert reads.octets == len(LARGE)
        assert len(reads.ranges) <= 5


async def test_all_of_a_large_message(mail: ImapEnv, reads: Reads) -> None:
    client = await mail.client("INBOX")
    await append(client, LARGE)
    assert await client.ok("FETCH 1 (BODY[] RFC822.SIZE)") == [
        b"* 1 FETCH (BODY[] {%d}\r\n%s RFC822.SIZE %d FLAGS (\\Seen))"
        % (len(LARGE), LARGE, len(LARGE))
    ]
    assert reads.octets == len(LARGE)
    assert await client.ok("FETCH 1 (BINARY.SIZE[2] BINARY.PEEK[2]<5000000.9> BINARY.PEEK[1])") == [
        b"* 1 FETCH (BINARY.SIZE[2] 7000000 BINARY[2]<5000000> ~{9}\r\n%s BINARY[1] {19}\r\n"
        b"See the attachment.)" % ATTACHMENT[5_000_000:5_000_009]
    ]
    [line] = await client.ok("FETCH 1 BINARY.PEEK[2]")
    assert line == b"* 1 FETCH (BINARY[2] ~{7000000}\r\n%s)" % ATTACHMENT
    assert await client.ok("FETCH 1 (PREVIEW BODY.PEEK[TEXT]<0.5>)") == [
        b'* 1 FETCH (PREVIEW "See the attachment." BODY[TEXT]<0> {5}\r\n--x\r\n)'
    ]


async def test_what_breaks_off_cuts_the_connection(mail: ImapEnv, reads: Reads) -> None:
    client = await mail.client("INBOX")
    await append(client, LARGE)
    reads.fault = Unavailable("blobs", "no such node")
    # nothing is sent of what cannot be read at all
    replies = await client.ask("FETCH 1 BODY[]")
    assert len(replies) == 1
    assert replies[0].startswith(b"NO [UNAVAILABLE] ")
    reads.fault = None
    sent = 0
    send = client.out.send

    def until_some(octets: bytes) -> None:
        nonlocal sent
        sent += len(octets)
        if sent > 2_000_000:
            reads.fault = Unavailable("blobs", "gone")
        send(octets)

    client.out.send = until_some  # type: ignore[method-assign]
    octets = await client.feed(b"a FETCH 1 BODY.PEEK[]\r\n")
    assert client.out.is_cut
    assert octets.startswith(b"* 1 FETCH (BODY[] {%d}\r\n" % len(LARGE))
    assert LARGE.startswith(octets.partition(b"}\r\n")[2])  # and nothing after it


async def test_a_body_that_was_moved_is_located_again(
    mail: ImapEnv, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The collector may move a body between the look at its row and the read."""
    content = b"Subject: small\r\n\r\nsmall\r\n"
    await mail.place(content)
    client = await mail.client("INBOX")
    prefetch = mail.bodies.prefetch

    def moving(locations: Iterable[BodyLocation]) -> None:
        monkeypatch.setattr(mail.bodies, "prefetch", prefetch)
        reads.missing = next(iter(locations)).key

    monkeypatch.setattr(mail.bodies, "prefetch", moving)
    key = await mail.seed.value("SELECT key FROM segments")
    asked = 0

    async def once_moved() -> None:
        nonlocal asked
        asked += 1
        reads.missing = ""
        await mail.blobs.move(key, "segments/new")
        await mail.seed.rows("UPDATE segments SET key = 'segments/new'")

    reads.on_missing = once_moved
    assert (await client.ok("FETCH 1 BODY.PEEK[]"))[0].endswith(b"small\r\n)")
    assert asked == 1


async def test_blocks_are_bounded_and_forgotten(mail: ImapEnv, reads: Reads) -> None:
    size = 9 * large_bodies.BLOCK + 5
    content = os.urandom(size)
    await mail.blobs.put("segments/x", [b"before", content])
    location = BodyLocation(new_id(), "segments/x", 6, size, "identity", size, False)
    reader = SegmentReader(mail.blobs, large_octets=3 * large_bodies.BLOCK)
    for start, end in ((0, 10), (size - 10, size + 10), (1 << 20, (1 << 20) + 1), (7, 4 << 20)):
        assert await reader.range(location, start, end) == content[start:end]
    assert reader._large.cached_bytes <= 3 * large_bodies.BLOCK
    # two readers of a block share one read
    reader._large.close()
    reads.ranges.clear()
    one, two = await asyncio.gather(reader.range(location, 0, 100), reader.range(location, 50, 200))
    assert (one, two) == (content[:100], content[50:200])
    assert len(reads.ranges) == 1
    await reader.close()
    kept = SegmentReader(mail.blobs)
    kept._large._kept_seconds = 0.01
    await kept.range(location, 0, 100)
    assert kept._large.cached_bytes
    while kept._large.cached_bytes:
        await asyncio.sleep(0.01)
    await kept.close()
    # a blob that is too short is a fault, never fewer bytes
    short = BodyLocation(new_id(), "segments/x", 6, size + 9, "identity", size + 9, False)
    with pytest.raises(Unavailable):
        await kept.range(short, size, size + 9)
    assert mail.accounts[ALICE]


async def test_over_a_socket_with_commands_behind_it(mail: ImapEnv) -> None:
    """What is pipelined behind a large APPEND and a large FETCH is answered in order."""
    async with imap_server(mail) as server:
        client = await server.login()
        assert (await client.ask("SELECT INBOX"))[-1].startswith(b"OK ")
        client.send(b"a APPEND INBOX (\\Seen) {%d}\r\n" % len(LARGE))
        assert await client.line() == b"+ OK"
        client.send(
            LARGE + b"\r\nb FETCH 1 (BODY.PEEK[2] RFC822.SIZE)\r\nc UID MOVE 1 Trash\r\nd NOOP\r\n"
        )
        assert (await client.until(b"a"))[-1].startswith(b"OK [APPENDUID ")
        [fetched, done] = await client.until(b"b")
        assert fetched == b"* 1 FETCH (BODY[2] {%d}\r\n%s RFC822.SIZE %d)" % (
            len(ENCODED), ENCODED, len(LARGE),
        )  # fmt: skip
        assert done == b"OK done"
        assert (await client.until(b"c"))[1:] == [b"* 1 EXPUNGE", b"OK moved"]
        assert await client.until(b"d") == [b"OK done"]
