"""Commands of the next transaction sent with the end of the one before (RFC 2920 §3.1)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import pytest

from posthorn_relay.smtp.connection import SmtpConnection
from posthorn_relay.smtp.types import Accepted, MailTransaction
from tests.conformance.relay.client_env import (
    MESSAGE,
    connector,
    failure_of,
    remote,
    transaction,
    without,
)
from tests.support.polling import BUSY_SECONDS, repeated_when_late
from tests.support.scripted_smtp import CLOSE, FULL, PLAIN, Do, ScriptedSmtp, Step

FIRST = MESSAGE
SECOND = b"Subject: second\r\n\r\nText.\r\n"


@dataclass
class _Watching(ScriptedSmtp):
    """Waits a little before it answers the end of data, and notes what has come by then."""

    ahead: bytes = b""

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        await ScriptedSmtp._talk(self, reader, writer)

    async def _do(self, verb: str, writer: asyncio.StreamWriter) -> bytes | None:
        if verb == "END" and not self.ahead:
            await asyncio.sleep(0.02)
            self.ahead += bytes(self._reader._buffer)  # type: ignore[attr-defined]
        return await ScriptedSmtp._do(self, verb, writer)


async def _opened(server: ScriptedSmtp, **settings: Any) -> SmtpConnection:
    return await connector(**settings).connect(remote(server.port))


def _announced(connection: SmtpConnection) -> MailTransaction | None:
    return connection.announced  # through a call, for mypy holds a property for unchanging


def _second() -> MailTransaction:
    return transaction("c@y.test", "d@y.test", content=(SECOND,))


async def test_the_next_transaction_is_announced_with_the_end_of_the_content() -> None:
    async with _Watching() as server:
        connection, second = await _opened(server), _second()
        (first,) = await connection.send(transaction(), second)
        assert isinstance(first, Accepted)
        assert connection.usable
        assert connection.announced is second
        results = await connection.send(second)
        assert [type(result) for result in results] == [Accepted, Accepted]
        assert connection.usable
        assert _announced(connection) is None
        await connection.close()
    assert server.ahead == (
        b"RSET\r\nMAIL FROM:<a@x.test> SIZE=26\r\nRCPT TO:<c@y.test>\r\nRCPT TO:<d@y.test>\r\nDATA\r\n"
    )
    assert server.contents == [FIRST, SECOND]
    assert server.verbs.count("MAIL") == 2
    assert server.verbs[-1] == "QUIT"


async def test_each_reply_belongs_to_its_own_transaction() -> None:
    script: dict[str, Step] = {
        "END": [b"554 5.7.1 no\r\n", b"250 2.0.0 second\r\n", b"451 4.3.0 later\r\n"],
        "RCPT": [b"250 ok\r\n", b"550 5.1.1 nobody\r\n", b"250 ok\r\n"],
    }
    async with ScriptedSmtp(script) as server:
        connection, second, third = await _opened(server), _second(), transaction()
        (refused,) = await connection.send(transaction(), second)
        assert failure_of(refused) == ("end", 554, "5.7.1", True)
        nobody, taken = await connection.send(second, third)
        assert failure_of(nobody) == ("rcpt", 550, "5.1.1", True)
        assert isinstance(taken, Accepted)
        (later,) = await connection.send(third)
        assert failure_of(later) == ("end", 451, "4.3.0", False)
        assert connection.usable
        await connection.close()
    assert server.contents == [FIRST, SECOND, FIRST]


async def test_a_refused_announcement_ends_as_an_empty_message() -> None:
    script: dict[str, Step] = {"MAIL": [b"250 ok\r\n", b"550 5.7.1 not you\r\n", b"250 ok\r\n"]}
    async with ScriptedSmtp(
        {**script, "DATA": [b"354 go\r\n", b"503 no\r\n", b"354 go\r\n"]}
    ) as server:
        connection, second = await _opened(server), transaction(content=(SECOND,))
        await connection.send(transaction(), second)
        (refused,) = await connection.send(second)
        assert failure_of(refused) == ("mail", 550, "5.7.1", True)
        assert connection.usable
        (third,) = await connection.send(transaction())
        assert isinstance(third, Accepted)
        await connection.close()
    assert server.contents == [FIRST, FIRST]


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (
            Do(b"250 2.0.0 taken\r\n421 4.7.0 enough\r\n", then="close"),
            ("mail", 421, "4.7.0", False),
        ),
        (Do(b"250 2.0.0 taken\r\n", then="close"), ("mail", 0, "4.4.2", False)),
        (Do(b"250 2.0.0 taken\r\n", then="reset"), ("mail", 0, "4.4.2", False)),
    ],
)
async def test_a_host_that_ends_after_a_message_has_taken_it_and_not_the_next(
    end: Do, expected: tuple[str, int, str, bool]
) -> None:
    async with ScriptedSmtp({"END": end}) as server:
        connection, second = await _opened(server), transaction(content=(SECOND,))
        (first,) = await connection.send(transaction(), second)
        assert isinstance(first, Accepted)
        (failed,) = await connection.send(second)
        assert failure_of(failed) == expected
        assert not connection.usable
        await connection.close()
    assert server.contents == [FIRST]


async def test_a_connection_lost_before_the_reply_leaves_the_first_open_and_the_next_untaken() -> (
    None
):
    async with ScriptedSmtp({"END": CLOSE}) as server:
        connection, second = await _opened(server), transaction(content=(SECOND,))
        (first,) = await connection.send(transaction(), second)
        assert failure_of(first) == ("end", 0, "4.4.2", False)
        assert not connection.usable
        (failed,) = await connection.send(second)
        assert failure_of(failed)[:2] == ("mail", 0)
    assert server.contents == [FIRST]


@pytest.mark.parametrize(
    "script",
    [
        {"RSET": b"503 5.5.1 synchronization error\r\n"},
        {"RSET": Do(b"554 5.5.0 SMTP protocol synchronization\r\n", then="close")},
        {"MAIL": [b"250 ok\r\n", b"503 5.5.1 not now\r\n", b"250 ok\r\n"]},
        {"RSET": Do(then="stall")},
    ],
)
@repeated_when_late(0.2)
async def test_a_host_that_minds_costs_no_message_and_gets_no_more_announcements(
    script: dict[str, Step],
) -> None:
    async with ScriptedSmtp(script) as server:
        maker = connector(relay_greeting_seconds=0.4)
        connection, second = await maker.connect(remote(server.port)), transaction()
        (first,) = await connection.send(transaction(), second)
        assert isinstance(first, Accepted)
        (failed,) = await connection.send(second)
        stage, code, _, permanent = failure_of(failed)
        assert (stage, code, permanent) == ("mail", 0, False)
        assert not connection.usable
        connection = await maker.connect(remote(server.port))
        for following in (second, None):
            (taken,) = await connection.send(second, following)
            assert isinstance(taken, Accepted)
            assert connection.announced is None
        await connection.close()


async def test_another_transaction_than_the_announced_one_cuts_the_connection() -> None:
    async with ScriptedSmtp() as server:
        connection, second = await _opened(server), transaction(content=(SECOND,))
        await connection.send(transaction(), second)
        (failed,) = await connection.send(transaction(content=(b"Third: 3\r\n\r\n",)))
        assert failure_of(failed) == ("mail", 0, "4.4.2", False)
        assert not connection.usable
    assert server.contents == [FIRST]


async def test_a_connection_left_after_an_announcement_is_cut_without_quit() -> None:
    async with ScriptedSmtp() as server:
        connection, second = await _opened(server), transaction(content=(SECOND,))
        await connection.send(transaction(), second)
        await connection.close()
        assert not connection.usable
        await asyncio.wait(server._tasks, timeout=BUSY_SECONDS)
    assert "QUIT" not in server.verbs
    assert server.contents == [FIRST]


_LONG = transaction(content=(b"Subject: s\r\n\r\n" + b"x" * 2000 + b"\r\n",))


@pytest.mark.parametrize(
    ("first", "following", "ehlo", "settings"),
    [
        (transaction(), _second(), PLAIN, {}),
        (transaction(), _second(), FULL, {"relay_announce": False}),
        (replace(transaction(), forwarded=True), _second(), FULL, {}),
        (transaction(), transaction(dots=True), FULL, {}),  # by BDAT
        (transaction(dots=True), _second(), FULL, {}),
        (transaction(), transaction("odd >@y.test"), FULL, {}),
        (transaction(), transaction(size=2_000_000), without(b"CHUNKING"), {}),  # too large for the host
        (transaction(), _LONG, FULL, {}),  # to be converted
        (transaction(), transaction(content=("é\r\n".encode(),), eight_bit=True), without(b"8BITMIME"), {}),
        (transaction(), transaction(content=(b"x\r\n" * 30_000,) * 2), without(b"CHUNKING"), {}),  # in blocks
    ],
)  # fmt: skip
async def test_what_is_not_certain_to_be_sent_next_is_not_announced(
    first: MailTransaction, following: MailTransaction, ehlo: bytes, settings: dict[str, Any]
) -> None:
    async with ScriptedSmtp({"EHLO": ehlo}) as server:
        connection = await _opened(server, **settings)
        (result,) = await connection.send(first, following)
        assert isinstance(result, Accepted)
        assert connection.announced is None
        (result, *_) = await connection.send(transaction())
        assert isinstance(result, Accepted)
        await connection.close()
    assert server.verbs.count("MAIL") == 2
