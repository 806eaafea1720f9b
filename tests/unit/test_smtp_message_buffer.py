"""A message while it comes in: its stored form, its facts, and where its octets lie."""

from __future__ import annotations

import asyncio
import email
import hashlib
import io
import itertools
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthorn.wire.message.before_header import LEAD_LIMIT, header_first
from posthorn.wire.message.header import starts_with_field
from posthorn.wire.smtp import replies as smtp
from posthorn_smtp_in.message_buffer import BLOCK, ByteBudget, MessageBuffer, SpoolLimits
from posthorn_smtp_in.spool_file import SpoolFile, WithFields

TRACE = b"Return-Path: <a@example.org>\r\nReceived: from c\r\n\tby mx\r\n"
RETURN_PATH = TRACE.index(b"\r\n") + 2


def limits_of(
    *,
    memory: int = 1 << 20,
    spool: int = 1 << 24,
    inline: int = 1 << 16,
    max_size: int = 1 << 24,
    directory: Path | None = None,
) -> SpoolLimits:
    return SpoolLimits(
        ByteBudget(memory, "memory"), ByteBudget(spool, "spool"), inline, max_size, directory
    )


async def stored(limits: SpoolLimits, pieces: list[bytes]) -> tuple[bytes, MessageBuffer]:
    message = MessageBuffer(limits, TRACE, RETURN_PATH)
    for piece in pieces:
        await message.add(piece)
    await message.finish()
    assert message.fault is None
    octets = await message.octets()
    facts = message.facts
    assert facts.size == message.size == len(octets)
    assert facts.sha256 == hashlib.sha256(octets).digest()
    assert facts.has_dot_lines == (b"\r\n." in octets)
    assert facts.return_path_octets == RETURN_PATH
    return octets, message


def expected(content: bytes) -> bytes:
    """ADR 2, the slow way."""
    if content and not content.endswith(b"\r\n"):
        content += b"\r\n"
    content = header_first(content, more=False) or content
    if not starts_with_field(content):
        return TRACE + (b"" if content.startswith(b"\r\n") else b"\r\n") + content
    return TRACE + content + (b"" if b"\r\n\r\n" in content else b"\r\n")


@pytest.mark.parametrize(
    ("content", "after_trace"),
    [
        (b"A: b\r\n\r\ntext\r\n", b"A: b\r\n\r\ntext\r\n"),
        (b"A: b\r\n\r\ntext", b"A: b\r\n\r\ntext\r\n"),
        (b"A: b\r\n\r\n", b"A: b\r\n\r\n"),
        (b"A: b\r\n", b"A: b\r\n\r\n"),  # no separator anywhere: Outlook hangs on that
        (b"A: b", b"A: b\r\n\r\n"),
        (b"A: b\r\nno field\r\n", b"A: b\r\nno field\r\n\r\n"),
        (b"no header\r\nat all\r\n", b"\r\nno header\r\nat all\r\n"),
        (b" A: folded into nothing\r\n", b"\r\n A: folded into nothing\r\n"),
        (
            b"From someone Mon Jan 1\r\nA: b\r\n\r\n",
            b"X-Mailbox-Line: From someone Mon Jan 1\r\nA: b\r\n\r\n",
        ),
        (
            b">From x\r\nFrom y\r\nA: b\r\n\r\nt\r\n",
            b"X-Mailbox-Line: >From x\r\nX-Mailbox-Line: From y\r\nA: b\r\n\r\nt\r\n",
        ),
        (b"\xef\xbb\xbfA: b\r\n\r\nt\r\n", b"A: b\r\n\r\nt\r\n"),
        (b"\xef\xbb\xbfFrom x\r\nA: b\r\n", b"X-Mailbox-Line: From x\r\nA: b\r\n\r\n"),
        (b"From here on\r\nnothing is a field\r\n", b"\r\nFrom here on\r\nnothing is a field\r\n"),
        (b"From x\r\n\r\nA: b\r\n", b"\r\nFrom x\r\n\r\nA: b\r\n"),
        (b"From x\r\n A: b\r\n", b"\r\nFrom x\r\n A: b\r\n"),
        (b"From x\r\n", b"\r\nFrom x\r\n"),
        (b"From", b"\r\nFrom\r\n"),
        (b"\xef\xbb\xbftext\r\n", b"\r\n\xef\xbb\xbftext\r\n"),
        (b"\xef\xbb", b"\r\n\xef\xbb\r\n"),
        # an empty header, ended by the blank line that is there
        (b"\r\nbody\r\n", b"\r\nbody\r\n"),
        (b"\r\n", b"\r\n"),
        (b"", b"\r\n"),
        (b".\r\n", b"\r\n.\r\n"),
        (b"A" * 3000 + b"\r\n", b"\r\n" + b"A" * 3000 + b"\r\n"),
        (b"A" * 900 + b": b\r\n\r\n", b"A" * 900 + b": b\r\n\r\n"),
    ],
)
async def test_the_stored_form(content: bytes, after_trace: bytes) -> None:
    assert expected(content) == TRACE + after_trace
    for pieces in ([content], [bytes([octet]) for octet in content]):
        octets, message = await stored(limits_of(), pieces)
        assert octets == TRACE + after_trace
        message.discard()


_LINES = st.lists(
    st.sampled_from(
        [b"A: b", b"Received: x", b"", b".", b".x", b"text", b" folded", b"x" * 1200, b"\0\xff"]
    ),
    max_size=12,
).map(lambda lines: b"".join(line + b"\r\n" for line in lines))


@settings(max_examples=60, deadline=None)
@given(
    _LINES,
    st.booleans(),
    st.lists(st.integers(0, 3000), max_size=6),
    st.sampled_from([0, 40, 300, 1 << 20]),
)
def test_where_it_lies_and_how_it_was_cut_make_no_difference(
    content: bytes, open_end: bool, at: list[int], memory: int
) -> None:
    if open_end:
        content = content.removesuffix(b"\r\n")
    edges = [0, *sorted(min(offset, len(content)) for offset in at), len(content)]
    pieces = [content[begin:end] for begin, end in itertools.pairwise(edges)]
    pieces = [piece for piece in _whole_line_ends(pieces) if piece]
    limits = limits_of(memory=memory, inline=memory or 50)

    async def check() -> None:
        octets, message = await stored(limits, pieces)
        assert octets == expected(content)
        head = await message.scan()
        header = content.partition(b"\r\n\r\n")[0] + b"\r\n"
        fields = header.startswith((b"A:", b"Received:"))
        assert head.received == ((b"\r\n" + header).count(b"\r\nReceived: x") if fields else 0)
        message.discard()

    asyncio.run(check())
    assert limits.memory.used == limits.spool.used == 0


def _whole_line_ends(pieces: list[bytes]) -> list[bytes]:
    """As the scanners give them: no piece ends with CR."""
    whole: list[bytes] = []
    carry = b""
    for piece in pieces:
        octets = carry + piece
        carry = b"\r" if octets.endswith(b"\r") else b""
        whole.append(octets.removesuffix(b"\r"))
    return [*whole, carry] if carry else whole


async def test_a_small_message_stays_in_memory_and_a_large_one_goes_to_the_file() -> None:
    limits = limits_of(inline=4096)
    octets, small = await stored(limits, [b"A: b\r\n\r\n", b"x\r\n" * 1000])
    assert not small.is_spooled
    assert (limits.memory.used, limits.spool.used) == (len(octets), 0)
    small.discard()
    octets, large = await stored(limits, [b"A: b\r\n\r\n", b"x\r\n" * 2000])
    assert large.is_spooled
    assert (limits.memory.used, limits.spool.used) == (0, len(octets))
    assert large.file().read() == octets
    assert large.file().read() == octets
    large.discard()
    large.discard()
    assert (limits.memory.used, limits.spool.used) == (0, 0)


async def test_a_large_message_never_takes_more_memory_than_a_block() -> None:
    limits = limits_of(inline=BLOCK, spool=1 << 26, max_size=1 << 26)
    message = MessageBuffer(limits, TRACE, RETURN_PATH)
    most = 0
    for _ in range(600):
        await message.add(b"x" * 62 + b"\r\n" + b"y" * 49_998 + b"\r\n")
        most = max(most, limits.memory.used)
    await message.finish()
    assert most <= BLOCK + 50_064
    assert message.facts.size > 30_000_000
    message.discard()
    assert (limits.memory.used, limits.spool.used) == (0, 0)


async def test_without_shared_memory_even_a_small_message_goes_to_the_file() -> None:
    limits = limits_of(memory=1000)
    assert limits.memory.take(990)
    octets, message = await stored(limits, [b"A: b\r\n\r\ntext\r\n"])
    assert message.is_spooled
    assert octets.endswith(b"text\r\n")
    assert limits.memory.used == 990
    message.discard()


async def test_a_message_that_is_too_big_keeps_nothing() -> None:
    limits = limits_of(max_size=5000, inline=1000)
    message = MessageBuffer(limits, TRACE, RETURN_PATH)
    for _ in range(100):
        await message.add(b"x" * 98 + b"\r\n")
        assert limits.memory.used + limits.spool.used <= 5000 + len(TRACE) + LEAD_LIMIT
    assert message.fault is smtp.TOO_BIG
    assert (limits.memory.used, limits.spool.used) == (0, 0)
    message.discard()
    assert (limits.memory.used, limits.spool.used) == (0, 0)


async def test_exactly_the_limit_fits() -> None:
    content = b"A: b\r\n\r\n" + b"x" * 990 + b"\r\n"
    octets, message = await stored(limits_of(max_size=1000), [content])
    assert octets == TRACE + content
    message.discard()
    message = MessageBuffer(limits_of(max_size=999), TRACE, RETURN_PATH)
    await message.add(content)
    assert message.fault is smtp.TOO_BIG


async def test_a_spool_that_is_full_is_a_matter_for_later() -> None:
    limits = limits_of(inline=100, spool=2000)
    message = MessageBuffer(limits, TRACE, RETURN_PATH)
    for _ in range(10):
        await message.add(b"x" * BLOCK)
    await message.finish()
    assert message.fault is smtp.FULL
    assert (limits.memory.used, limits.spool.used) == (0, 0)


async def test_a_disk_that_fails_is_a_matter_for_later(tmp_path: Path) -> None:
    limits = limits_of(inline=100, directory=tmp_path / "is not there")
    message = MessageBuffer(limits, TRACE, RETURN_PATH)
    await message.add(b"A: b\r\n\r\n" + b"x" * BLOCK + b"\r\n")
    await message.finish()
    assert message.fault is smtp.FULL
    assert (limits.memory.used, limits.spool.used) == (0, 0)


async def test_the_file_has_no_name(tmp_path: Path) -> None:
    _, message = await stored(
        limits_of(inline=100, directory=tmp_path), [b"A: b\r\n\r\n" + b"x" * BLOCK + b"\r\n"]
    )
    assert message.is_spooled
    assert list(tmp_path.iterdir()) == []
    message.discard()


async def test_the_first_reason_to_refuse_stands() -> None:
    message = MessageBuffer(limits_of(), TRACE, RETURN_PATH)
    message.fail(smtp.BARE_LINE_END)
    message.fail(smtp.TOO_BIG)
    await message.add(b"x\r\n")
    await message.finish()
    assert message.fault is smtp.BARE_LINE_END


@pytest.mark.parametrize("hops", [0, 1, 51])
async def test_received_fields_are_counted_in_memory_and_on_disk(hops: int) -> None:
    content = (
        b"Received: by somebody\r\n" * hops + b"Subject: hello\r\n\r\nReceived: not a field\r\n"
    )
    places: list[Callable[[], SpoolLimits]] = [limits_of, lambda: limits_of(inline=10)]
    for limits in places:
        _, message = await stored(limits(), [content])
        head = await message.scan()
        assert (head.received, head.summary.subject) == (hops, "hello")
        message.discard()


async def test_a_message_without_header_has_no_summary() -> None:
    _, message = await stored(limits_of(), [b"Dear reader,\r\nSubject: not a field\r\n"])
    head = await message.scan()
    assert head.summary.subject == ""
    message.discard()


async def test_octet_by_octet_takes_no_more_memory_than_what_is_counted() -> None:
    limits = limits_of()
    message = MessageBuffer(limits, TRACE, RETURN_PATH)
    tracemalloc.start()
    for number in range(30_000):
        await message.add(b"%02d" % (number % 100))
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert limits.memory.used > 60_000
    assert taken < 2 * limits.memory.used
    message.discard()


@pytest.mark.parametrize(
    "content", [b"A: b\r\n\r\n\0.\r\n", b"A: b\r\n\r\nx\r\n\0\0.more\r\n", b"\0.\r\n"]
)
async def test_a_line_of_nuls_and_a_dot_is_refused_however_it_was_cut(content: bytes) -> None:
    pieces = [bytes([octet]) for octet in content]
    for cut in ([content], list(_whole_line_ends(pieces))):
        limits = limits_of()
        message = MessageBuffer(limits, TRACE, RETURN_PATH)
        for piece in cut:
            await message.add(piece)
        await message.finish()
        assert message.fault is smtp.NUL
        assert limits.memory.used == 0


@pytest.mark.parametrize(
    "content", [b"A: b\r\n\r\n\0\r\n.\r\n", b"A: b\r\n\r\nx\0.\r\n", b"A: b\r\n\r\n.\0\r\n"]
)
async def test_other_nuls_of_a_stranger_are_kept_as_they_came(content: bytes) -> None:
    octets, message = await stored(
        limits_of(), list(_whole_line_ends([bytes([octet]) for octet in content]))
    )
    assert octets == TRACE + content
    message.discard()


# Lines that no host must take


def submitted(limits: SpoolLimits) -> MessageBuffer:
    return MessageBuffer(limits, TRACE, RETURN_PATH, lambda block: block)


HTML = b"From: a@x.test\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"


@pytest.mark.parametrize("memory", [1 << 24, 1 << 14])
@pytest.mark.parametrize("size", [2_000, 40_000, 300_000])
@pytest.mark.parametrize("piece", [997, 64_000])
async def test_long_lines_of_a_submitted_message_are_encoded_wherever_it_lies(
    memory: int, size: int, piece: int
) -> None:
    body = (b"w\xc3\xb6rd " * 250 + b"\r\n.\r\n") * (size // 1500 + 1)
    content = HTML + body
    limits = limits_of(memory=memory)
    message = submitted(limits)
    for at in range(0, len(content), piece):
        await message.add(content[at : at + piece])
    await message.finish()
    assert message.fault is None
    octets, facts = await message.octets(), message.facts
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    assert octets.startswith(TRACE)
    assert email.message_from_bytes(octets).get_payload(decode=True) == body
    assert (facts.size, facts.sha256) == (len(octets), hashlib.sha256(octets).digest())
    assert facts.has_dot_lines == (b"\r\n." in octets)
    assert (await message.scan()).has_separator
    if message.is_spooled:
        assert message.file().read() == octets
    message.discard()
    assert (limits.memory.used, limits.spool.used) == (0, 0)


@pytest.mark.parametrize(
    "content",
    [
        HTML + b"x" * 998 + b"\r\n",
        HTML + "ä".encode() * 499 + b"\r\n",
        HTML.replace(b"text/html", b"multipart/signed; boundary=s")
        + b"--s\r\n\r\n"
        + b"x" * 2000
        + b"\r\n--s--\r\n",
        b"X-Link: " + b"a" * 2000 + b"\r\n\r\ntext\r\n",
    ],
)
async def test_what_can_travel_or_cannot_be_converted_stays_as_it_is(content: bytes) -> None:
    message = submitted(limits_of())
    await message.add(content)
    await message.finish()
    assert await message.octets() == TRACE + content
    message.discard()


async def test_strangers_mail_keeps_its_long_lines() -> None:
    octets, message = await stored(limits_of(), [HTML + b"x" * 5000 + b"\r\n"])
    assert octets == TRACE + HTML + b"x" * 5000 + b"\r\n"
    message.discard()


async def test_no_room_for_the_other_form_is_said_as_no_room() -> None:
    content = HTML + b"w\xc3\xb6rd " * 20_000 + b"\r\n"
    limits = limits_of(memory=1 << 14, spool=int(len(content) * 1.5))
    message = submitted(limits)
    for at in range(0, len(content), 4096):
        await message.add(content[at : at + 4096])
    await message.finish()
    assert message.fault is smtp.FULL
    assert (limits.memory.used, limits.spool.used) == (0, 0)


FIELDS = b"Authentication-Results: mx.example.test; none\r\nX-Posthorn-Verdict: deliver\r\n"


@pytest.mark.parametrize(
    ("inline", "memory"), [(1 << 16, 1 << 20), (1 << 10, 1 << 20), (1 << 16, 10)]
)
async def test_fields_are_put_behind_the_return_path_wherever_the_octets_lie(
    inline: int, memory: int
) -> None:
    content = b"Subject: x\r\n\r\n" + b".dots\r\nand text\r\n" * 1000
    limits = limits_of(inline=inline, memory=memory)
    before, message = await stored(limits, [content])
    assert before[message.trace_octets :] == content
    message.insert(FIELDS)
    octets = before[:RETURN_PATH] + FIELDS + before[RETURN_PATH:]
    assert await message.octets() == octets
    facts = message.facts
    assert (facts.size, facts.return_path_octets) == (len(octets), RETURN_PATH)
    assert facts.sha256 == hashlib.sha256(octets).digest()
    if message.is_spooled:
        assert message.file().read() == octets
    message.discard()
    assert not limits.memory.used and not limits.spool.used


@pytest.mark.parametrize("block", [1, 7, 64, 1 << 20])
def test_a_file_with_fields_reads_as_one_and_is_hashed_however_it_is_read(
    block: int, tmp_path: Path
) -> None:
    file = SpoolFile.new(tmp_path)
    file.append(b"0123456789" * 20)
    whole = b"01234" + FIELDS + (b"0123456789" * 20)[5:]
    made = WithFields(file, 200, FIELDS, 5)
    assert made.seek(0, io.SEEK_END) == len(whole) == made.size
    assert made.read(block) == b""
    made.seek(0)
    # a store may read a part, begin anew, and break off
    made.read(40)
    assert (made.seek(3), made.tell()) == (3, 3)
    found = b""
    while made.tell() < 150:
        found += made.read(block) or b""
    assert found == whole[3 : made.tell()]
    assert made.digest() == hashlib.sha256(whole).digest()
    made.seek(0)
    assert made.readall() == whole


def test_a_file_that_lost_bytes_is_not_taken_for_whole(tmp_path: Path) -> None:
    file = SpoolFile.new(tmp_path)
    file.append(b"x" * 100)
    file.truncate(50)
    with pytest.raises(OSError, match="shorter"):
        WithFields(file, 100, FIELDS, 5).digest()
