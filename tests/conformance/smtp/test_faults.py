"""Faults of what stands behind SMTP: always a 4yz, never a word about it, nothing kept twice (promises 1 to 3)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import structlog

from posthorn.model.directory_entry import RecipientStatus
from posthorn.ports.directory import DirectoryBehind
from posthorn.ports.errors import Full, Unavailable
from posthorn_smtp_in import service
from tests.conformance.smtp.stage import LETTER, Stage, Talk, after_trace, staged

LARGE = b"Subject: large\r\n\r\n" + (b"x" * 98 + b"\r\n") * 6000
SECRET = "nats://user:password@10.0.0.7"


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "RETRY_SECONDS", (0.001, 0.01))


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with staged(smtp_accept_seconds=0.3, smtp_store_seconds=0.3) as made:
        yield made


async def test_a_directory_that_does_not_answer_is_never_a_bounce(stage: Stage) -> None:
    stage.directory.fault = Unavailable("directory", SECRET)
    talk = await (await stage.talk()).hello()
    assert await talk.say(b"MAIL FROM:<a@example.org>\r\n") == "250 2.1.0"
    assert await talk.say(b"RCPT TO:<alice@example.test>\r\n") == "451 4.3.0"
    assert await talk.say(b"RCPT TO:<a@elsewhere.example>\r\n") == "451 4.3.0"
    # a client that pipelines DATA without looking must not make a bounce of it either
    assert await talk.say(b"DATA\r\n") == "451 4.5.1"
    assert await talk.say(b"BDAT 6 LAST\r\nQUIT\r\n") == "451 4.5.1"
    stage.directory.fault = None
    assert await talk.say(b"RCPT TO:<alice@example.test>\r\n") == "250 2.1.5"
    assert await talk.data(LETTER + b".\r\n") == "250 2.0.0"


async def test_what_a_directory_that_is_behind_does_not_hold_is_put_off(stage: Stage) -> None:
    talk = await (await stage.talk()).hello()
    await talk.say(b"MAIL FROM:<a@example.org>\r\n")
    for standing in (RecipientStatus.UNKNOWN, RecipientStatus.FOREIGN):
        stage.directory.fault = DirectoryBehind(standing)
        assert await talk.say(b"RCPT TO:<carol@example.test>\r\n") == "451 4.3.0"
    stage.directory.fault = None
    assert await talk.say(b"RCPT TO:<carol@example.test>\r\n") == "550 5.1.1"


async def test_the_250_comes_after_the_stream_s_promise() -> None:
    async with staged() as stage:
        stage.ingest.open.clear()
        talk = await (await stage.talk()).begin()
        assert await talk.say(b"DATA\r\n") == "354"
        await talk.send(LETTER + b".\r\nNOOP\r\n")
        async with asyncio.timeout(5):
            while not stage.ingest.tried:
                await asyncio.sleep(0.001)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await talk.reader.read(1)
        assert not stage.ingest.kept
        stage.ingest.open.set()
        assert [await talk.code(), await talk.code()] == ["250 2.0.0", "250 2.0.0"]
        assert len(stage.kept()) == 1


async def test_the_stream_is_tried_again_under_the_same_id(stage: Stage) -> None:
    stage.ingest.faults = [Unavailable("nats", "gone"), Unavailable("nats", "still gone")]
    talk = await (await stage.talk()).begin()
    assert await talk.data(LETTER + b".\r\n") == "250 2.0.0"
    assert len(stage.ingest.tried) == 3
    assert {envelope.id for envelope in stage.ingest.tried} == {stage.only()[0].id}


@pytest.mark.parametrize("content", [LETTER, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(
    ("fault", "code"),
    [(Full("nats", SECRET), "452 4.3.1"), (Unavailable("nats", SECRET), "451 4.3.0"), (None, "451 4.3.0")],
    ids=["full", "unavailable", "silent"],
)
async def test_a_stream_that_does_not_take_it(stage: Stage, content: bytes, fault: Exception | None, code: str) -> None:
    if fault:
        stage.ingest.faults = [fault] * 1000
    else:
        stage.ingest.open.clear()
    talk = await (await stage.talk()).begin()
    assert await talk.say(b"DATA\r\n") == "354"
    await talk.send(content + b".\r\n")
    reply = await talk.reply()
    assert reply[0].startswith(code)
    assert SECRET not in reply[0]
    assert not stage.ingest.kept
    stage.ingest.faults = []
    stage.ingest.open.set()
    assert await talk.say(b"MAIL FROM:<>\r\n") == "250 2.1.0"  # the session goes on, the transaction is over


async def test_without_the_store_small_mail_goes_on_and_large_mail_waits(stage: Stage) -> None:
    stage.blobs.fault = Unavailable("blobs", SECRET)
    talk = await (await stage.talk()).begin()
    assert await talk.data(LARGE + b".\r\n") == "451 4.3.0"
    assert not stage.ingest.tried
    await talk.send(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<alice@example.test>\r\n")
    assert [await talk.code(), await talk.code()] == ["250 2.1.0", "250 2.1.5"]
    assert await talk.data(LETTER + b".\r\n") == "250 2.0.0"


async def test_a_large_body_is_stored_before_it_is_promised() -> None:
    async with staged() as stage:
        stage.ingest.open.clear()
        talk = await (await stage.talk()).begin()
        assert await talk.say(b"DATA\r\n") == "354"
        await talk.send(LARGE + b".\r\n")
        async with asyncio.timeout(5):
            while not stage.ingest.tried:
                await asyncio.sleep(0.001)
        (envelope,) = stage.ingest.tried
        assert after_trace(stage.blobs.objects[f"bodies/{envelope.id}"]) == LARGE
        stage.ingest.open.set()
        assert await talk.code() == "250 2.0.0"


async def test_without_room_on_disk_large_mail_waits() -> None:
    async with staged(smtp_spool_bytes=400_000) as stage:
        talk = await (await stage.talk()).begin()
        assert await talk.data(LARGE + b".\r\n") == "452 4.3.1"
        assert not stage.ingest.tried
        await talk.send(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<alice@example.test>\r\n")
        assert [await talk.code(), await talk.code()] == ["250 2.1.0", "250 2.1.5"]
        assert await talk.data(LETTER + b".\r\n") == "250 2.0.0"


@pytest.mark.parametrize("where", ["directory", "ingest", "store"])
async def test_an_error_of_ours_is_451_and_tells_nothing(
    stage: Stage, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = ZeroDivisionError(SECRET)
    talk = await (await stage.talk()).hello()
    assert await talk.say(b"MAIL FROM:<a@example.org>\r\n") == "250 2.1.0"
    if where == "directory":
        stage.directory.fault = error
        await talk.send(b"RCPT TO:<alice@example.test>\r\n")
    else:
        assert await talk.say(b"RCPT TO:<alice@example.test>\r\n") == "250 2.1.5"
        assert await talk.say(b"DATA\r\n") == "354"
        if where == "ingest":
            stage.ingest.faults = [error]
            await talk.send(LETTER + b".\r\n")
        else:
            stage.blobs.fault = error
            await talk.send(LARGE + b".\r\n")
    assert await talk.reply() == ["451 4.3.0 a temporary fault here; try again later"]
    assert await talk.ended()
    assert "fault=" in capsys.readouterr().out  # an id to find it by


async def test_an_error_of_ours_leaves_no_pipelined_command_to_be_refused_for_good(stage: Stage) -> None:
    talk = await (await stage.talk()).hello()
    stage.directory.fault = ZeroDivisionError()
    await talk.send(
        b"MAIL FROM:<a@example.org>\r\nRCPT TO:<alice@example.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n"
    )
    assert [await talk.code(), await talk.code()] == ["250 2.1.0", "451 4.3.0"]
    assert await talk.ended()  # and no 503 for what followed


async def test_an_error_while_data_comes_in_does_not_make_commands_of_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("posthorn_smtp_in.letter.Letter.add", broken)
    talk = await (await stage.talk()).begin()
    assert await talk.say(b"DATA\r\n") == "354"
    await talk.send(LETTER + b"QUIT\r\nEXPN x\r\n.\r\n")
    assert await talk.code() == "451 4.3.0"
    assert await talk.say(b"NOOP\r\n") == "250 2.0.0"


async def test_a_client_that_goes_before_its_answer_is_not_waited_for() -> None:
    async with staged(smtp_accept_seconds=60) as stage:
        stage.ingest.faults = [Unavailable("nats")] * 100_000
        talk: Talk = await (await stage.talk()).begin()
        assert await talk.say(b"DATA\r\n") == "354"
        await talk.send(LETTER + b".\r\n")
        async with asyncio.timeout(5):
            while not stage.ingest.tried:
                await asyncio.sleep(0.001)
        talk.writer.transport.abort()
        await stage.nothing_is_left()
        assert not stage.ingest.kept


async def test_what_is_logged_of_a_letter_carries_its_id(stage: Stage) -> None:
    with structlog.testing.capture_logs() as lines:
        talk = await (await stage.talk()).begin()
        assert await talk.say(b"RCPT TO:<nobody@example.test>\r\n") == "550 5.1.1"
        assert await talk.data(LETTER + b".\r\n") == "250 2.0.0"
    (envelope, _) = stage.only()
    about = [line for line in lines if line["event"] in ("refused", "accepted")]
    assert [line["message"] for line in about] == [str(envelope.id)] * 2
