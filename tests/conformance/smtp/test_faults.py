"""Faults of what stands behind SMTP: always a 4yz, never a word about it, nothing kept twice
(promises 1 to 3)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import structlog

from posthorn.model.directory_entry import RecipientStatus
from posthorn.ports.directory import DirectoryBehind
from posthorn.ports.errors import Full, Unavailable
from posthorn_smtp_in import acceptance
from tests.conformance.smtp.env import MESSAGE, SmtpDialogue, SmtpEnv, after_trace, smtp_env
from tests.support.polling import BUSY_SECONDS

LARGE = b"Subject: large\r\n\r\n" + (b"x" * 98 + b"\r\n") * 6000
SECRET = "nats://user:password@10.0.0.7"


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptance, "RETRY_SECONDS", (0.001, 0.01))


@pytest.fixture
async def env() -> AsyncIterator[SmtpEnv]:
    async with smtp_env(smtp_accept_seconds=1.0, smtp_store_seconds=1.0) as made:
        yield made


async def test_a_directory_that_does_not_answer_is_never_a_bounce(env: SmtpEnv) -> None:
    env.directory.fault = Unavailable("directory", SECRET)
    talk = await (await env.talk()).hello()
    assert await talk.say(b"MAIL FROM:<a@example.org>\r\n") == "250 2.1.0"
    assert await talk.say(b"RCPT TO:<alice@example.test>\r\n") == "451 4.3.0"
    assert await talk.say(b"RCPT TO:<a@elsewhere.example>\r\n") == "451 4.3.0"
    # a client that pipelines DATA without looking must not make a bounce of it either
    assert await talk.say(b"DATA\r\n") == "451 4.5.1"
    assert await talk.say(b"BDAT 6 LAST\r\nQUIT\r\n") == "451 4.5.1"
    env.directory.fault = None
    assert await talk.say(b"RCPT TO:<alice@example.test>\r\n") == "250 2.1.5"
    assert await talk.data(MESSAGE + b".\r\n") == "250 2.0.0"


async def test_what_a_directory_that_is_behind_does_not_hold_is_put_off(env: SmtpEnv) -> None:
    talk = await (await env.talk()).hello()
    await talk.say(b"MAIL FROM:<a@example.org>\r\n")
    for standing in (RecipientStatus.UNKNOWN, RecipientStatus.FOREIGN):
        env.directory.fault = DirectoryBehind(standing)
        assert await talk.say(b"RCPT TO:<carol@example.test>\r\n") == "451 4.3.0"
    env.directory.fault = None
    assert await talk.say(b"RCPT TO:<carol@example.test>\r\n") == "550 5.1.1"


async def test_the_250_comes_after_the_stream_s_promise() -> None:
    async with smtp_env() as env:
        env.ingest.open.clear()
        talk = await (await env.talk()).begin()
        assert await talk.say(b"DATA\r\n") == "354"
        await talk.send(MESSAGE + b".\r\nNOOP\r\n")
        async with asyncio.timeout(BUSY_SECONDS):
            while not env.ingest.tried:
                await asyncio.sleep(0.001)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await talk.reader.read(1)
        assert not env.ingest.kept
        env.ingest.open.set()
        assert [await talk.code(), await talk.code()] == ["250 2.0.0", "250 2.0.0"]
        assert len(env.kept()) == 1


async def test_the_stream_is_tried_again_under_the_same_id(env: SmtpEnv) -> None:
    env.ingest.faults = [Unavailable("nats", "gone"), Unavailable("nats", "still gone")]
    talk = await (await env.talk()).begin()
    assert await talk.data(MESSAGE + b".\r\n") == "250 2.0.0"
    assert len(env.ingest.tried) == 3
    assert {envelope.id for envelope in env.ingest.tried} == {env.only()[0].id}


@pytest.mark.parametrize("content", [MESSAGE, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Full("nats", SECRET), "452 4.3.1"),
        (Unavailable("nats", SECRET), "451 4.3.0"),
        (None, "451 4.3.0"),
    ],
    ids=["full", "unavailable", "silent"],
)
async def test_a_stream_that_does_not_take_it(
    env: SmtpEnv, content: bytes, fault: Exception | None, code: str
) -> None:
    if fault:
        env.ingest.faults = [fault] * 1000
    else:
        env.ingest.open.clear()
    talk = await (await env.talk()).begin()
    assert await talk.say(b"DATA\r\n") == "354"
    await talk.send(content + b".\r\n")
    reply = await talk.reply()
    assert reply[0].startswith(code)
    assert SECRET not in reply[0]
    assert not env.ingest.kept
    env.ingest.faults = []
    env.ingest.open.set()
    # the session goes on, the transaction is over
    assert await talk.say(b"MAIL FROM:<>\r\n") == "250 2.1.0"


async def test_without_the_store_small_mail_goes_on_and_large_mail_waits(env: SmtpEnv) -> None:
    env.blobs.fault = Unavailable("blobs", SECRET)
    talk = await (await env.talk()).begin()
    assert await talk.data(LARGE + b".\r\n") == "451 4.3.0"
    assert not env.ingest.tried
    await talk.send(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<alice@example.test>\r\n")
    assert [await talk.code(), await talk.code()] == ["250 2.1.0", "250 2.1.5"]
    assert await talk.data(MESSAGE + b".\r\n") == "250 2.0.0"


async def test_a_large_body_is_stored_before_it_is_promised() -> None:
    async with smtp_env() as env:
        env.ingest.open.clear()
        talk = await (await env.talk()).begin()
        assert await talk.say(b"DATA\r\n") == "354"
        await talk.send(LARGE + b".\r\n")
        async with asyncio.timeout(BUSY_SECONDS):
            while not env.ingest.tried:
                await asyncio.sleep(0.001)
        (envelope,) = env.ingest.tried
        assert after_trace(env.blobs.objects[f"bodies/{envelope.id}"]) == LARGE
        env.ingest.open.set()
        assert await talk.code() == "250 2.0.0"


async def test_without_room_on_disk_large_mail_waits() -> None:
    async with smtp_env(smtp_spool_bytes=700_000, smtp_message_max_bytes=700_000) as env:
        talk = await (await env.talk()).begin()
        assert await talk.say(b"DATA\r\n") == "354"
        await talk.send(LARGE)
        other = await (await env.talk()).begin()
        assert await other.data(LARGE + b".\r\n") == "250 2.0.0"
        assert await talk.say(b".\r\n") == "452 4.3.1"
        assert len(env.ingest.tried) == 1
        await talk.send(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<alice@example.test>\r\n")
        assert [await talk.code(), await talk.code()] == ["250 2.1.0", "250 2.1.5"]
        assert await talk.data(MESSAGE + b".\r\n") == "250 2.0.0"


@pytest.mark.parametrize("where", ["directory", "ingest", "store"])
async def test_an_error_of_ours_is_451_and_tells_nothing(
    env: SmtpEnv, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = ZeroDivisionError(SECRET)
    talk = await (await env.talk()).hello()
    assert await talk.say(b"MAIL FROM:<a@example.org>\r\n") == "250 2.1.0"
    if where == "directory":
        env.directory.fault = error
        await talk.send(b"RCPT TO:<alice@example.test>\r\n")
    else:
        assert await talk.say(b"RCPT TO:<alice@example.test>\r\n") == "250 2.1.5"
        assert await talk.say(b"DATA\r\n") == "354"
        if where == "ingest":
            env.ingest.faults = [error]
            await talk.send(MESSAGE + b".\r\n")
        else:
            env.blobs.fault = error
            await talk.send(LARGE + b".\r\n")
    assert await talk.reply() == ["451 4.3.0 temporary system problem; try again later"]
    assert await talk.ended()
    assert "fault=" in capsys.readouterr().out  # an id to find it by


async def test_an_error_of_ours_leaves_no_pipelined_command_to_be_refused_for_good(
    env: SmtpEnv,
) -> None:
    talk = await (await env.talk()).hello()
    env.directory.fault = ZeroDivisionError()
    await talk.send(
        b"MAIL FROM:<a@example.org>\r\nRCPT TO:<alice@example.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n"
    )
    assert [await talk.code(), await talk.code()] == ["250 2.1.0", "451 4.3.0"]
    assert await talk.ended()  # and no 503 for what followed


async def test_an_error_while_data_comes_in_does_not_make_commands_of_it(
    env: SmtpEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("posthorn_smtp_in.message_buffer.MessageBuffer.add", broken)
    talk = await (await env.talk()).begin()
    assert await talk.say(b"DATA\r\n") == "354"
    await talk.send(MESSAGE + b"QUIT\r\nEXPN x\r\n.\r\n")
    assert await talk.code() == "451 4.3.0"
    assert await talk.say(b"NOOP\r\n") == "250 2.0.0"


async def test_a_client_that_goes_before_its_answer_is_not_waited_for() -> None:
    async with smtp_env(smtp_accept_seconds=60) as env:
        env.ingest.faults = [Unavailable("nats")] * 100_000
        talk: SmtpDialogue = await (await env.talk()).begin()
        assert await talk.say(b"DATA\r\n") == "354"
        await talk.send(MESSAGE + b".\r\n")
        async with asyncio.timeout(BUSY_SECONDS):
            while not env.ingest.tried:
                await asyncio.sleep(0.001)
        talk.writer.transport.abort()
        await env.nothing_is_left()
        assert not env.ingest.kept


async def test_what_is_logged_of_a_message_carries_its_id(env: SmtpEnv) -> None:
    with structlog.testing.capture_logs() as lines:
        talk = await (await env.talk()).begin()
        assert await talk.say(b"RCPT TO:<nobody@example.test>\r\n") == "550 5.1.1"
        assert await talk.data(MESSAGE + b".\r\n") == "250 2.0.0"
    (envelope, _) = env.only()
    about = [line for line in lines if line["event"] in ("refused", "accepted")]
    assert [line["message"] for line in about] == [str(envelope.id)] * 2
