"""Hosts that fail: lost connections, timeouts, invalid replies, and hosts that cannot be
reached."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from posthorn_relay.smtp.protocol import ClientProtocol
from posthorn_relay.smtp.types import Accepted, Failed, MailTransaction, Recipient
from tests.conformance.relay.client_env import (
    HOST,
    QUICK,
    connector,
    failure_of,
    post,
    refusal,
    remote,
    transaction,
    without,
)  # fmt: skip
from tests.support.polling import BUSY_SECONDS, repeated_when_late, until
from tests.support.scripted_smtp import (
    CLOSE,
    FULL,
    PLAIN,
    RESET,
    STALL,
    Do,
    ScriptedSmtp,
    Step,
)

STAGES = {"MAIL": "mail", "RCPT": "rcpt", "DATA": "data", "END": "end"}


@pytest.mark.parametrize("ehlo", [FULL, PLAIN])
@pytest.mark.parametrize("verb", STAGES)
@pytest.mark.parametrize(
    ("step", "code", "status"),
    [
        (CLOSE, 0, "4.4.2"), (RESET, 0, "4.4.2"), (STALL, 0, "4.4.2"),
        (Do(b"250-half a re", then="stall"), 0, "4.4.2"), (Do(b"25", then="close"), 0, "4.4.2"),
        (b"421 4.3.2 going down\r\n", 421, "4.3.2"), (Do(b"421 bye\r\n", then="close"), 421, "4.3.2"),
        (b"nonsense\r\n", 0, "4.5.0"), (b"250-one\r\n251 two\r\n", 0, "4.5.0"), (b"100 hm\r\n", 0, "4.5.0"),
        (b"\0\xff" * 3000, 0, "4.5.0"), (b"250-more\r\n" * 200, 0, "4.5.0"),
    ],
)  # fmt: skip
@repeated_when_late(0.3)
async def test_a_host_that_fails_in_a_transaction(
    ehlo: bytes, verb: str, step: Step, code: int, status: str
) -> None:
    async with ScriptedSmtp({"EHLO": ehlo, verb: step}) as server:
        connection = await connector(**QUICK).connect(remote(server.port))
        async with asyncio.timeout(BUSY_SECONDS):
            results = await connection.send(transaction("b@y.test", "c@y.test"))
        assert [failure_of(result) for result in results] == [
            (STAGES[verb], code, status, False)
        ] * 2
        assert not connection.usable
        await connection.close()


@pytest.mark.parametrize(
    ("verb", "reply"),
    [
        ("MAIL", b"354 go\r\n"),
        ("RCPT", b"334 what\r\n"),
        ("DATA", b"250 ok\r\n"),
        ("END", b"354 go\r\n"),
    ],
)
@repeated_when_late(0.3)
async def test_a_reply_that_does_not_fit_ends_the_connection(verb: str, reply: bytes) -> None:
    async with ScriptedSmtp({verb: reply}) as server:
        connection = await connector(**QUICK).connect(remote(server.port))
        (result,) = await connection.send(transaction())
        assert failure_of(result) == (STAGES[verb], 0, "4.5.0", False)
        assert not connection.usable


@repeated_when_late(0.3)
async def test_replies_that_nobody_asked_for_are_never_taken_for_answers() -> None:
    async with ScriptedSmtp(
        {"END": b"250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n"}
    ) as server:
        connection = await connector(**QUICK).connect(remote(server.port))
        await connection.send(transaction())
        assert not connection.usable
        (result,) = await connection.send(transaction())
        assert failure_of(result) == ("mail", 0, "4.5.0", False)
    assert len(server.contents) == 1


@pytest.mark.parametrize(
    "farewell", [Do(b"250 ok\r\n421 idle\r\n", then="close"), Do(b"250 ok\r\n", then="close")]
)
async def test_a_connection_closed_while_idle_is_not_usable(farewell: Do) -> None:
    async with ScriptedSmtp({"END": farewell}) as server:
        connection = await connector().connect(remote(server.port))
        assert isinstance((await connection.send(transaction()))[0], Accepted)
        await until(lambda: not connection.usable)
        (result,) = await connection.send(transaction())
        assert failure_of(result)[0] == "mail"
        assert not failure_of(result)[3]
        await connection.close()


@repeated_when_late(1.0)
async def test_a_slow_host_has_its_time_for_each_reply() -> None:
    script: dict[str, Step] = {"RCPT": Do(b"250 " + b"slow" * 10 + b"\r\n", by_octet=True)}

    class Slow(ScriptedSmtp):
        async def _do(self, verb: str, writer: asyncio.StreamWriter) -> bytes | None:
            if verb == "RCPT":
                await asyncio.sleep(0.6)
            return await ScriptedSmtp._do(self, verb, writer)

    patient = {**QUICK, "relay_greeting_seconds": 3.0}
    async with Slow(script) as server:  # 3.6 s in all, 3 s for each
        results = await post(
            server, transaction(*(f"{name}@y.test" for name in "abcdef")), **patient
        )
    assert all(isinstance(result, Accepted) for result in results)


@pytest.mark.parametrize("keyword", [b"CHUNKING", b"nothing"])
@repeated_when_late(0.3)
async def test_a_host_that_takes_no_content(keyword: bytes) -> None:
    content = [b"x" * 998 + b"\r\n"] * 30000
    async with ScriptedSmtp(
        {"EHLO": without(keyword, b"SIZE"), "DATA": Do(b"354 go\r\n", then="stall"), "BDAT": STALL}
    ) as server:
        connection = await connector(**QUICK).connect(remote(server.port))
        (result,) = await connection.send(transaction(content=content))
        assert failure_of(result) == ("data", 0, "4.4.2", False)
        assert isinstance(result, Failed)
        assert "took nothing" in result.reply


@repeated_when_late(0.3)
async def test_a_host_that_refuses_in_the_midst_of_the_content() -> None:
    content = [b"x" * 998 + b"\r\n"] * 30000
    script: dict[str, Step] = {
        "EHLO": without(b"CHUNKING", b"SIZE"),
        "DATA": Do(b"354 go\r\n552 5.3.4 enough\r\n", then="stall"),
    }
    async with ScriptedSmtp(script) as server:
        (result,) = await post(server, transaction(content=content), **QUICK)
    assert failure_of(result) == ("data", 552, "5.3.4", True)


async def test_a_fault_of_the_store_comes_through() -> None:
    async def early() -> AsyncGenerator[bytes]:
        for _ in ():
            yield b""
        raise RuntimeError("store")

    reads = 0

    async def late() -> AsyncGenerator[bytes]:
        nonlocal reads
        reads += 1
        is_sent = reads == 1  # the second one looks for long lines
        yield (b"x" * 998 + b"\r\n") * 70
        yield b"y"
        if is_sent:
            raise RuntimeError("store")

    async with ScriptedSmtp() as server:
        for content in (early, late):
            connection = await connector().connect(remote(server.port))
            with pytest.raises(RuntimeError, match="store"):
                await connection.send(
                    MailTransaction(
                        "a@x.test", [Recipient("b@y.test")], 5, content, False, False, False
                    )
                )
            assert connection.usable is (content is early)
            await connection.close()
    assert server.contents == []


async def cancelled(sending: asyncio.Task[object]) -> None:
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending


async def test_a_cancelled_send_leaves_nothing_to_use() -> None:
    async with ScriptedSmtp({"MAIL": STALL}) as server:
        connection = await connector().connect(remote(server.port))
        sending = asyncio.create_task(connection.send(transaction()))
        await until(lambda: "MAIL" in server.verbs)
        await cancelled(sending)
        assert not connection.usable
        await connection.close()


async def test_a_send_that_is_cancelled_with_its_answers_unread_leaves_nothing_to_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = ClientProtocol.wait_replies

    reached = asyncio.Event()

    async def stuck(self: ClientProtocol, seconds: float, last: float | None = None) -> None:
        await real(self, seconds, last)
        if self.replies and self.replies[0].code == 250:
            reached.set()
            await asyncio.Event().wait()

    async with ScriptedSmtp(
        {"RCPT": b"550 5.1.1 no such user\r\n", "DATA": b"554 5.5.1 nobody\r\n"}
    ) as server:
        connection = await connector().connect(remote(server.port))
        monkeypatch.setattr(ClientProtocol, "wait_replies", stuck)
        sending = asyncio.create_task(connection.send(transaction()))
        async with asyncio.timeout(BUSY_SECONDS):
            await reached.wait()
        await cancelled(sending)
        monkeypatch.setattr(ClientProtocol, "wait_replies", real)
        assert not connection.usable, "the next transaction would meet these answers"
        await connection.close()


async def test_closing_never_waits_long() -> None:
    async with ScriptedSmtp({"QUIT": STALL}) as server:
        connection = await connector().connect(remote(server.port))
        async with asyncio.timeout(BUSY_SECONDS):
            await connection.close()
            await connection.close()


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ({"GREETING": CLOSE}, ("greeting", 0, "4.4.2", False)),
        ({"GREETING": RESET}, ("greeting", 0, "4.4.2", False)),
        ({"GREETING": STALL}, ("greeting", 0, "4.4.2", False)),
        ({"GREETING": b"HTTP/1.1 400 Bad Request\r\n\r\n"}, ("greeting", 0, "4.5.0", False)),
        ({"GREETING": b"554 5.7.1 not you\r\n"}, ("greeting", 554, "5.7.1", True)),
        ({"GREETING": b"450 later\r\n"}, ("greeting", 450, "4.0.0", False)),
        ({"GREETING": b"421 4.7.0 busy\r\n"}, ("greeting", 421, "4.7.0", False)),
        ({"GREETING": b"354 hm\r\n"}, ("greeting", 354, "4.5.0", False)),
        ({"EHLO": CLOSE}, ("ehlo", 0, "4.4.2", False)),
        ({"EHLO": STALL}, ("ehlo", 0, "4.4.2", False)),
        ({"EHLO": b"450 4.7.1 grey\r\n"}, ("ehlo", 450, "4.7.1", False)),
        ({"EHLO": b"550 no\r\n", "HELO": b"550 5.7.1 no\r\n"}, ("ehlo", 550, "5.7.1", True)),
        ({"EHLO": b"250-a\r\n" * 300}, ("ehlo", 0, "4.5.0", False)),
    ],
)
@repeated_when_late(0.3)
async def test_a_host_that_fails_at_the_door(
    script: dict[str, Step], expected: tuple[str, int, str, bool]
) -> None:
    async with ScriptedSmtp(script) as server:
        assert failure_of(await refusal(remote(server.port), **QUICK)) == expected


async def test_nobody_listens() -> None:
    async with ScriptedSmtp() as server:
        port = server.port
    failed = await refusal(remote(port))
    assert failure_of(failed) == ("connect", 0, "4.4.1", False)
    assert failed.reply == f"connecting to port {port}: Connection refused"
    assert failed.host == f"{HOST} (127.0.0.1)"


async def test_the_bind_address_is_used() -> None:
    async with ScriptedSmtp() as server:
        assert isinstance(
            (await post(server, transaction(), relay_bind_ipv4="127.0.0.5"))[0], Accepted
        )
        failed = await refusal(remote(server.port), relay_bind_ipv4="192.0.2.1")
    assert failure_of(failed) == ("connect", 0, "4.4.1", False)
