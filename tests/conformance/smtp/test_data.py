"""Messages over DATA and BDAT: what is kept byte for byte, what is refused, and that no content
is ever taken for commands."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from posthorn.adapters.blobs.files import FileBlobs
from posthorn.wire.smtp.data import stuff
from posthorn_smtp_in.composition import Backends, build_mx
from posthorn_smtp_in.server import serving
from tests.conformance.smtp.env import (
    MESSAGE,
    TO_ALICE,
    SmtpDialogue,
    SmtpEnv,
    after_trace,
    check_facts,
    settings_of,
    smtp_env,
)
from tests.support.polling import BUSY_SECONDS

HEAD = b"From: a@example.org\r\nSubject: awkward\r\n\r\n"


@pytest.fixture
async def env() -> AsyncIterator[SmtpEnv]:
    async with smtp_env() as made:
        yield made


AWKWARD = {
    "8-bit": HEAD + "Grüße\r\n".encode() + b"\xe4\xf6\xfc\xff\r\n",
    "NULs and control characters": HEAD + b"a\0b\r\n\0\r\n\x01\x1b\x7f\x08\t\r\n",
    "lone dots": HEAD + b".\r\n..\r\n...\r\n.\r\n",
    "lines that begin with a dot": HEAD + b".a\r\n..b\r\n. c\r\nd.\r\n",
    "a dot line at the segment's edge": HEAD + b"x" * 1403 + b"\r\n.\r\n" + b"y\r\n",
    "lines of 997 to 1003 octets": HEAD
    + b"".join(b"x" * length + b"\r\n" for length in range(997, 1004)),
    "100 KB in a line": HEAD + b"z" * 100_000 + b"\r\nshort\r\n",
    "100 KB of dots in a line": HEAD + b"." * 100_000 + b"\r\n",
    "a long header line": b"X-Long: " + b"h" * 20_000 + b"\r\n" + HEAD,
    "a header over 64 KiB": b"".join(b"X-%05d: %b\r\n" % (n, b"h" * 60) for n in range(1500))
    + HEAD
    + b"text\r\n",
    "a header over 256 KiB": b"".join(b"X-%05d: %b\r\n" % (n, b"h" * 60) for n in range(5000))
    + HEAD
    + b"text\r\n",
    "a blank line at the end": HEAD + b"text\r\n\r\n\r\n",
    "only a header": HEAD,
}


@pytest.mark.parametrize("way", ["data", "bdat"])
@pytest.mark.parametrize("name", AWKWARD)
async def test_awkward_mail_is_kept_byte_for_byte(env: SmtpEnv, name: str, way: str) -> None:
    talk = await (await env.talk()).begin()
    if way == "data":
        assert await talk.data(stuff(AWKWARD[name]) + b".\r\n") == "250 2.0.0"
    else:
        assert (
            await talk.say(b"BDAT %d LAST\r\n" % len(AWKWARD[name]) + AWKWARD[name]) == "250 2.0.0"
        )
    assert after_trace(env.only()[1]) == AWKWARD[name]
    assert await talk.say(b"NOOP\r\n") == "250 2.0.0"


@pytest.mark.parametrize("size", [1, 700])
async def test_authentication_results_that_claim_to_be_ours_are_removed(
    env: SmtpEnv, size: int
) -> None:
    forged = (
        b"Authentication-Results: MX.example.test (x);\r\n\tspf=pass smtp.mailfrom=bank.test\r\n"
    )
    others = b"Authentication-Results: filter.example.org; dkim=fail\r\n"
    rest = (
        HEAD
        + b"Authentication-Results: mx.example.test; in the text\r\n"
        + b"line\r\n" * 1024 * size
    )
    talk = await (await env.talk()).begin()
    assert await talk.data(stuff(forged + others + forged + rest) + b".\r\n") == "250 2.0.0"
    assert after_trace(env.only()[1]) == others + rest


async def test_a_message_of_nothing(env: SmtpEnv) -> None:
    talk = await (await env.talk()).begin()
    assert await talk.data(b".\r\n") == "250 2.0.0"
    assert after_trace(env.only()[1]) == b"\r\n"


SMUGGLING = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r\n.\r",
    b"\r.\r\n",
    b"\r\n.\r\r\n",
    b"\r\r\n.\r\n",
    b"\n\r.\r\n",
    b"\n\n.\r\n",
    b"\r.\n",
]


@pytest.mark.parametrize("segments", ["whole", "at each border", "octet by octet"])
@pytest.mark.parametrize("false_end", SMUGGLING)
async def test_a_smuggled_message_is_refused_whole(
    env: SmtpEnv, false_end: bytes, segments: str
) -> None:
    smuggled = b"MAIL FROM:<admin@example.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\nSubject: evil\r\n\r\nevil\r\n"
    octets = HEAD + b"text" + false_end + smuggled + b".\r\n"
    if (
        b"\r\n.\r\n" in false_end
    ):  # its own true end: what follows is commands indeed, and the message before it is refused
        octets = HEAD + b"text" + false_end
    talk = await (await env.talk()).begin()
    assert await talk.say(b"DATA\r\n") == "354"
    at = octets.index(false_end)
    borders = {
        "whole": [],
        "at each border": range(at, at + len(false_end) + 1),
        "octet by octet": range(len(octets)),
    }
    last = 0
    for border in [*borders[segments], len(octets)]:
        await talk.send(octets[last:border])
        last = border
        await asyncio.sleep(0)
    assert await talk.reply() == [
        "550 5.5.2 lines must end in <CR><LF>; a bare CR or LF is not accepted"
    ]
    assert not env.ingest.tried
    assert await talk.say(b"NOOP\r\n") == "250 2.0.0"  # nothing of it was taken for a command
    await talk.send(TO_ALICE)
    assert [await talk.code(), await talk.code()] == ["250 2.1.0", "250 2.1.5"]
    assert await talk.data(MESSAGE + b".\r\n") == "250 2.0.0"


@pytest.mark.parametrize("content", [b"a\rb\r\n", b"a\r\n\r", b"a\r\r\n", b"a\n\rb\n"])
async def test_a_bare_cr_in_chunks_is_refused(env: SmtpEnv, content: bytes) -> None:
    talk = await (await env.talk()).begin()
    assert await talk.say(b"BDAT %d LAST\r\n" % len(content) + content) == "550 5.5.2"
    assert not env.ingest.tried
    assert await talk.say(b"MAIL FROM:<>\r\n") == "250 2.1.0"  # the transaction is over


async def test_chunks_cut_anywhere_make_one_message(env: SmtpEnv) -> None:
    talk = await (await env.talk()).begin()
    content = HEAD + b".\r\n..\r\ntext"
    for octet in content:
        assert await talk.say(b"BDAT 1\r\n" + bytes([octet])) == "250 2.0.0"
    assert await talk.say(b"BDAT 0 LAST\r\n") == "250 2.0.0"
    assert after_trace(env.only()[1]) == content + b"\r\n"  # the missing line end, nothing else


async def test_pipelined_chunks_and_the_next_transaction(env: SmtpEnv) -> None:
    talk = await (await env.talk()).hello()
    first, second = HEAD + b"QUIT\r\n", b"BDAT 5\r\nhello\r\n"
    message = b"BDAT %d\r\n%bBDAT %d LAST\r\n%b" % (len(first), first, len(second), second)
    await talk.send((TO_ALICE + message) * 3 + b"QUIT\r\n")
    codes = [await talk.code() for _ in range(13)]
    assert codes == ["250 2.1.0", "250 2.1.5", "250 2.0.0", "250 2.0.0"] * 3 + ["221 2.0.0"]
    assert [after_trace(octets) for _, octets in env.kept()] == [first + second] * 3


async def test_chunks_and_commands_between_them(env: SmtpEnv) -> None:
    await env.play(r"""
        S: 220 …
        C: HELO c
        S: 250 …
        R: BDAT 4 LAST\r\nQUIT
        S: 503 5.5.1 MAIL first
        C: MAIL FROM:<a@example.org>
        S: 250 2.1.0 …
        R: BDAT 6\r\nRSET\r\n
        S: 554 5.5.1 no valid recipients
        C: RCPT TO:<alice@example.test>
        S: 250 2.1.5 …
        R: BDAT 6\r\nA: b\r\n
        S: 250 2.0.0 6 octets received
        C: DATA
        S: 503 5.5.1 a message is coming in by BDAT; only BDAT or RSET may follow
        C: RCPT TO:<bob@example.test>
        S: 503 5.5.1 …
        C: MAIL FROM:<b@example.org>
        S: 503 5.5.1 …
        C: NOOP
        S: 250 2.0.0 OK
        R: BDAT 2\r\n\r\n
        S: 250 2.0.0 2 octets received
        C: RSET
        S: 250 2.0.0 OK
        R: BDAT 6 LAST\r\nRSET\r\n
        S: 503 5.5.1 MAIL first
        C: QUIT
        S: 221 2.0.0 bye
        S: <end>
    """)
    assert not env.ingest.tried


async def test_a_chunk_of_unknown_length_ends_the_session(env: SmtpEnv) -> None:
    talk = await (await env.talk()).begin()
    await talk.send(b"BDAT many LAST\r\nMAIL FROM:<evil@example.org>\r\nVRFY x\r\n")
    assert await talk.code() == "501 5.5.4"
    assert await talk.ended()


@pytest.mark.parametrize(
    "line", [b"BDAT 6 LAST\n", b"BDAT\t6 LAST\r\n", b"BDAT 6" + b" " * 600 + b"LAST\r\n"]
)
async def test_a_chunk_s_command_that_does_not_read_ends_the_session(
    env: SmtpEnv, line: bytes
) -> None:
    talk = await (await env.talk()).begin()
    await talk.send(line + b"RSET\r\nVRFY x\r\n")
    assert (await talk.code()).startswith("50")
    assert await talk.ended()


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_a_bare_lf_in_chunks_becomes_crlf_as_their_length_is_told(
    env: SmtpEnv, size: int
) -> None:
    content = b"A: b\n\nline one\nline two\r\n.\n..\nMAIL FROM:<x@y.example>\n"
    talk = await (await env.talk()).begin()
    for at in range(0, len(content), size):
        piece = content[at : at + size]
        assert await talk.say(b"BDAT %d\r\n" % len(piece) + piece) == "250 2.0.0"
    assert await talk.say(b"BDAT 0 LAST\r\n") == "250 2.0.0"
    _, octets = env.only()
    assert octets.endswith(content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))


async def test_a_refused_message_s_later_chunks_are_read_and_refused_too(env: SmtpEnv) -> None:
    talk = await (await env.talk()).begin()
    await talk.send(b"BDAT 3\r\na\rbBDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")
    assert [await talk.code() for _ in range(4)] == ["550 5.5.2"] * 3 + ["250 2.0.0"]
    assert not env.ingest.tried


async def test_too_big_a_message_is_refused_after_its_end() -> None:
    async with smtp_env(smtp_message_max_bytes=100_000) as env:
        talk = await (await env.talk()).begin()
        assert await talk.say(b"DATA\r\n") == "354"
        for _ in range(200):
            await talk.send(b"QUIT\r\n" * 1000)
            assert env.listening is not None
            assert env.listening.spool_limits.memory.used <= 200_000
        assert await talk.say(b".\r\n") == "552 5.3.4"
        assert not env.ingest.tried
        await talk.send(TO_ALICE)
        assert [await talk.code(), await talk.code()] == ["250 2.1.0", "250 2.1.5"]
        exactly = HEAD + b"x" * (100_000 - len(HEAD) - 2) + b"\r\n"
        assert await talk.data(exactly + b".\r\n") == "250 2.0.0"


async def test_too_big_a_chunk_is_refused_before_it_is_read() -> None:
    async with smtp_env(smtp_message_max_bytes=10_000) as env:
        talk = await (await env.talk()).begin()
        assert await talk.say(b"BDAT 6000\r\n" + b"x" * 6000) == "250 2.0.0"
        assert await talk.say(b"BDAT 6000 LAST\r\n") == "552 5.3.4"
        await talk.send(b"QUIT\r\n" * 1000)
        assert await talk.say(b"NOOP\r\n") == "250 2.0.0"
        assert not env.ingest.tried


async def test_an_endless_chunk_is_read_in_part_then_the_session_ends() -> None:
    async with smtp_env(smtp_message_max_bytes=10_000) as env:
        talk = await (await env.talk()).begin()
        assert await talk.say(b"BDAT 99999999999999999999999999\r\n") == "552 5.3.4"
        await talk.send(b"QUIT\r\n" * 4000)
        assert await talk.code() == "421 4.7.0"
        assert await talk.ended()


@pytest.mark.parametrize("hops", [100, 101])
async def test_a_message_that_loops_is_refused(env: SmtpEnv, hops: int) -> None:
    talk = await (await env.talk()).begin()
    code = await talk.data(b"Received: by somebody\r\n" * hops + MESSAGE + b".\r\n")
    assert code == ("554 5.4.6" if hops > 100 else "250 2.0.0")


@pytest.mark.parametrize("way", ["data", "bdat"])
async def test_a_large_message_goes_to_the_store_and_not_into_memory(
    env: SmtpEnv, way: str, tmp_path: Path
) -> None:
    content = HEAD + b"".join(
        b".%015d more than sixty octets in each line, with a dot\r\n" % number
        for number in range(320_000)
    )
    assert len(content) > 20_000_000
    env.blobs = blobs = FileBlobs(tmp_path)
    await blobs.open()
    async with serving(
        build_mx(settings_of(), Backends(env.directory, env.ingest, blobs), None), grace=1
    ) as env.listening:
        talk = await (await env.talk()).begin()
        if way == "data":
            assert await talk.say(b"DATA\r\n") == "354"
            octets = stuff(content) + b".\r\n"
        else:
            octets = b"BDAT %d LAST\r\n" % len(content) + content
        most = 0
        tracemalloc.start()
        for at in range(0, len(octets), 1 << 18):
            await talk.send(octets[at : at + (1 << 18)])
            most = max(most, env.listening.spool_limits.memory.used)
        assert await talk.code() == "250 2.0.0"
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert 0 < most <= 1 << 20
        assert peak < 8 << 20, "octets of server and store that were in memory at a time"
        ((envelope, body),) = env.ingest.kept
        assert body is None
        assert envelope.blob == f"bodies/{envelope.id}"
        stored = await blobs.read(envelope.blob, 0, envelope.body.size)
        check_facts(envelope.body, stored)
        assert after_trace(stored) == content
        assert envelope.body.has_dot_lines
    blobs.close()


async def test_the_inline_limit_is_about_the_stored_size(env: SmtpEnv) -> None:
    async def size_of(content: bytes) -> tuple[int, bool]:
        talk = await (await env.talk()).begin()
        assert await talk.data(content + b".\r\n") == "250 2.0.0"
        envelope, body = env.ingest.kept.pop()
        return envelope.body.size, body is not None

    limit = 512 * 1024
    size, inline = await size_of(HEAD + b"x" * 400_000 + b"\r\n")
    more = limit - size
    assert inline
    assert await size_of(HEAD + b"x" * (400_000 + more) + b"\r\n") == (limit, True)
    assert await size_of(HEAD + b"x" * (400_001 + more) + b"\r\n") == (limit + 1, False)


async def test_many_messages_at_once_share_the_memory() -> None:
    """Beyond the shared limit messages lie on disk while they come in; all of them arrive whole,
    the small ones in the stream."""
    async with smtp_env(smtp_memory_bytes=300_000, smtp_sessions_per_address=100) as env:
        assert env.listening is not None
        memory = env.listening.spool_limits.memory
        talks: list[SmtpDialogue] = [await (await env.talk()).begin() for _ in range(20)]
        contents = [HEAD + b"%02d" % number + b"x" * 90_000 + b"\r\n" for number in range(20)]
        for talk, content in zip(talks, contents, strict=True):
            assert await talk.say(b"DATA\r\n") == "354"
            await talk.send(content)
            assert memory.used <= 300_000
        async with asyncio.timeout(BUSY_SECONDS):
            while env.listening.spool_limits.spool.used < 1_000_000:
                await asyncio.sleep(0.005)
        for talk in talks:
            assert await talk.say(b".\r\n") == "250 2.0.0"
        assert sorted(after_trace(octets) for _, octets in env.kept()) == contents
        assert all(body is not None for _, body in env.ingest.kept)
        assert not env.blobs.objects
