"""What a client, or a stranger's message, may cost the process: memory of what is held at once, and
time in which no other connection is served."""

from __future__ import annotations

import asyncio
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from posthorn_imap.message_content import PIECE_BYTES
from tests.support.imap import Dialogue, ImapEnv

LONG = b"".join(b"X-%d: %b\r\n" % (number, b"a" * 40) for number in range(4_600))
"""Fields of 230 KB, which zstd makes small."""


@contextmanager
def peak_below(most: int) -> Iterator[None]:
    """Assert that no more bytes are held at once in addition."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


async def longest_stall(client: Dialogue, command: str) -> float:
    """Run a command; return the longest time on a CPU in which nothing else of the loop ran."""
    longest = 0.0

    async def look() -> None:
        nonlocal longest
        last = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            longest, last = max(longest, now - last), now

    looking = asyncio.create_task(look())
    try:
        await client.ok(command)
    finally:
        looking.cancel()
    return longest


async def test_kept_headers_are_unpacked_one_after_the_other(mail: ImapEnv) -> None:
    """500 of them took 120 MB in each connection, whether its client read or not."""
    await mail.place(b"Subject: one\r\n" + LONG + b"\r\nHello.\r\n")
    client = await mail.client("INBOX")
    for count in (1, 2, 4, 8, 16, 32):
        await client.ok(f"COPY 1:{count} INBOX")
    for command in (
        "FETCH 1:* BODY.PEEK[HEADER.FIELDS (SUBJECT)]",
        "FETCH 1:* (ENVELOPE)",
        "SEARCH SUBJECT none",
        "SEARCH TEXT none",
        "SORT (SUBJECT) UTF-8 ALL",
    ):
        with peak_below(8 * 1024 * 1024):
            await client.ok(command)


@pytest.mark.parametrize("beyond", [-2, -1, 0, 1, 2, PIECE_BYTES, 3 * PIECE_BYTES + 5])
async def test_a_long_header_is_sent_whole_and_looked_at_in_part(
    mail: ImapEnv, beyond: int
) -> None:
    """Its end is found wherever it lies in a piece."""
    start = b"Subject: one\r\nCc: early@example.test\r\nX: "
    late = b"\r\nTo: late@example.test" if beyond >= PIECE_BYTES else b""
    header = start.ljust(PIECE_BYTES + beyond - 2 - len(late), b"x") + late + b"\r\n\r\n"
    text = b"needle " * 60_000 + b"\r\n"
    await mail.place(header + text)
    client = await mail.client("INBOX")

    async def literal(item: str) -> bytes:
        reply = (await client.ok(f"FETCH 1 {item}"))[0]
        head, _, content = reply.partition(b"\r\n")
        assert head.endswith(b"{%d}" % (len(content) - 1)), head
        return content[:-1]

    assert await literal("BODY.PEEK[HEADER]") == header
    assert await literal("BODY.PEEK[HEADER]<7.300000>") == header[7:300007]
    assert await literal("BODY.PEEK[TEXT]") == text
    assert await literal("BODY.PEEK[]") == header + text
    fields = await literal("BODY.PEEK[HEADER.FIELDS (CC TO)]")
    assert fields == b"Cc: early@example.test\r\n\r\n"
    envelope = (await client.ok("FETCH 1 ENVELOPE"))[0]
    assert b'"early" "example.test"' in envelope and b'"late"' not in envelope
    for key, found in (("SUBJECT one BODY needle", b" 1"), ("CC early", b" 1"), ("TO late", b"")):
        assert await client.ok(f"SEARCH {key}") == [b"* SEARCH" + found]


@pytest.mark.parametrize(
    "header",
    [
        b"Subject: one\r\nTo: " + b"a," * 110_000,
        b"Subject: one\r\nTo: " + b"<a>,;:" * 37_000,
        b"Subject: " + b"\r\n ".join([b"=?utf-8?q?a=C3=A4?="] * 10_000),
        b"Subject: " + b"\r\n ".join(b"=?x%d?q?a?=" % number for number in range(12_000)),
    ],
)
async def test_what_strangers_write_into_headers_stops_nobody(mail: ImapEnv, header: bytes) -> None:
    await mail.place(header + b"\r\n\r\nHello.\r\n")
    client = await mail.client("INBOX")
    for command in (
        "FETCH 1 ENVELOPE",
        "SEARCH SUBJECT none",
        "SEARCH TO none",
        "SORT (SUBJECT TO) UTF-8 ALL",
        "THREAD REFERENCES UTF-8 ALL",
    ):
        stalls = [await longest_stall(client, command) for _ in range(3)]
        assert min(stalls) < 0.05, command


async def test_the_structures_of_many_parts_stop_nobody_and_take_little(mail: ImapEnv) -> None:
    parts = b"--b\r\nContent-Type: text/plain" + b";a=b" * 30 + b"\r\n\r\n"
    head = b'Subject: one\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n'
    await mail.place(head + parts * 1_100)
    client = await mail.client("INBOX")
    for count in (1, 2):
        await client.ok(f"COPY 1:{count} INBOX")

    async def structures(command: str) -> list[bytes]:
        replies = await client.ok(command)
        return [reply.partition(b"FETCH")[2] for reply in replies if b"FETCH" in reply]

    for command in ("FETCH 1:* BODYSTRUCTURE", "FETCH 1:* BODY"):
        found = [*await structures(command), *await structures(command)]
        assert len(found) == 8 and len(set(found)) == 1
    stalls = [await longest_stall(client, "FETCH 1 BODYSTRUCTURE") for _ in range(3)]
    assert min(stalls) < 0.05


async def test_many_keywords_are_stored_and_told_in_small_pieces(mail: ImapEnv) -> None:
    """190 keywords of 255 bytes on 5,000 messages held the account for 30 s and took 240 MB."""
    await mail.place(b"Subject: one\r\n\r\nHello.\r\n")
    client, other = await mail.client("INBOX"), await mail.client("INBOX")
    for count in (1, 2, 4, 8, 16, 32, 64, 128, 256):
        await client.ok(f"COPY 1:{count} INBOX")
    many = " ".join(f"keyword{number}".ljust(40, "x") for number in range(190))
    assert await client.no(f"STORE 1 +FLAGS ({many} {'y' * 255} {'z' * 255} {'w' * 255})") == (
        b"NO [LIMIT] a mailbox has at most 200 keywords of 8192 bytes"
    )
    told = await client.ok(f"STORE 1:* +FLAGS.SILENT ({many})")
    assert any(reply.startswith(b"* FLAGS (") and b"keyword189" in reply for reply in told)
    await other.ok("NOOP")
    for each, command in ((client, "FETCH 1:* FLAGS"), (other, "FETCH 1:* (FLAGS RFC822.SIZE)")):
        with peak_below(24 * 1024 * 1024):
            replies = await each.ok(command)
        assert len(replies) == 512 and all(b"keyword189" in reply for reply in replies)
    modseqs = await mail.seed.rows("SELECT count(DISTINCT modseq) FROM mailbox_entries")
    assert modseqs[0][0] > 10, "one transaction for each piece"
