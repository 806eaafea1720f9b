"""Mail transactions of the relay's SMTP client with hosts that accept them (RFC 5321 §3.3, RFC
2920, RFC 3030)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from prometheus_client import REGISTRY

from posthorn.model.outbound import Notify
from posthorn_relay.smtp.types import Accepted, MailTransaction, Recipient
from tests.conformance.relay.client_env import (
    HOST,
    MESSAGE,
    connector,
    failure_of,
    post,
    remote,
    transaction,
    without,
)  # fmt: skip
from tests.support.scripted_smtp import (
    FULL,
    PLAIN,
    Do,
    ScriptedSmtp,
    Step,
)
from tests.support.sink import Sink


async def test_a_message_in_two_writes() -> None:
    async with ScriptedSmtp() as server:
        (result,) = await post(server, transaction())
    assert result == Accepted("250 2.0.0 taken as 1", f"{HOST} (127.0.0.1)", "", dsn=True)
    assert server.commands == [
        "EHLO out.example.test", f"MAIL FROM:<a@x.test> SIZE={len(MESSAGE)}", "RCPT TO:<b@y.test>", "DATA", "QUIT",
    ]  # fmt: skip
    assert server.contents == [MESSAGE]


async def test_without_pipelining_each_command_waits() -> None:
    async with ScriptedSmtp({"EHLO": PLAIN}) as server:
        first, second = await post(server, transaction("b@y.test", "c@y.test"))
    assert isinstance(first, Accepted)
    assert not first.dsn
    assert isinstance(second, Accepted)
    assert server.commands[1:5] == [
        "MAIL FROM:<a@x.test>",
        "RCPT TO:<b@y.test>",
        "RCPT TO:<c@y.test>",
        "DATA",
    ]


@dataclass
class _Patient(ScriptedSmtp):
    """Waits a little before each reply, and notes what has come by then."""

    ahead: bytes = b""

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        await ScriptedSmtp._talk(self, reader, writer)

    async def _do(self, verb: str, writer: asyncio.StreamWriter) -> bytes | None:
        await asyncio.sleep(0.01)
        self.ahead += bytes(self._reader._buffer)  # type: ignore[attr-defined]
        return await ScriptedSmtp._do(self, verb, writer)


@pytest.mark.parametrize("ehlo", [PLAIN, FULL])
async def test_only_where_pipelining_is_offered_is_anything_sent_ahead(ehlo: bytes) -> None:
    async with _Patient({"EHLO": ehlo}) as server:
        results = await post(server, transaction("b@y.test", "c@y.test"))
        assert all(isinstance(result, Accepted) for result in results)
        assert (b"RCPT TO" in server.ahead) is (ehlo is FULL)
        assert ehlo is FULL or server.ahead == b""


async def test_helo_where_ehlo_is_not_known() -> None:
    async with ScriptedSmtp({"EHLO": b"502 what\r\n"}) as server:
        (result,) = await post(server, transaction())
    assert isinstance(result, Accepted)
    assert server.verbs == ["EHLO", "HELO", "MAIL", "RCPT", "DATA", "QUIT"]


async def test_replies_octet_by_octet() -> None:
    script: dict[str, Step] = {
        "GREETING": Do(b"220-scripted\r\n220 ready\r\n", by_octet=True),
        "EHLO": Do(FULL, by_octet=True),
        "RCPT": Do(b"250-2.1.5 fine,\r\n250 2.1.5 quite\r\n", by_octet=True),
        "END": Do(b"250-2.0.0 taken\r\n250 2.0.0 as 7\r\n", by_octet=True),
    }
    async with ScriptedSmtp(script) as server:
        (result,) = await post(server, transaction())
    assert isinstance(result, Accepted)
    assert result.reply == "250 2.0.0 taken as 7"


async def test_one_connection_carries_many() -> None:
    before = (
        REGISTRY.get_sample_value(
            "posthorn_relay_smtp_transactions_total", {"connection": "reused"}
        )
        or 0.0
    )
    async with ScriptedSmtp() as server:
        connection = await connector().connect(remote(server.port))
        for number in range(5):
            assert connection.usable
            (result,) = await connection.send(transaction(content=(b"%d\r\n" % number,)))
            assert isinstance(result, Accepted)
        await connection.close()
        assert not connection.usable
    assert server.contents == [b"%d\r\n" % number for number in range(5)]
    assert server.connections == 1
    assert "RSET" not in server.verbs
    after = REGISTRY.get_sample_value(
        "posthorn_relay_smtp_transactions_total", {"connection": "reused"}
    )
    assert after == before + 4


@pytest.mark.parametrize("cut", range(len(b"..a\r\n.b\r\n.\r\n\r\n.c\r\n")))
async def test_dots_are_stuffed_wherever_the_content_is_cut(cut: int) -> None:
    # Blocks of 64 KiB are cut by filling up to the place
    content = b"..a\r\n.b\r\n.\r\n\r\n.c\r\n"
    filling = (b"x" * 998 + b"\r\n") * 65 + b"x" * 534 + b"\r\n"
    async with ScriptedSmtp({"EHLO": without(b"CHUNKING")}) as server:
        (result,) = await post(
            server, transaction(content=(filling + content[:cut], content[cut:]), dots=True)
        )
    assert isinstance(result, Accepted)
    assert server.contents == [filling + b"...a\r\n..b\r\n..\r\n\r\n..c\r\n"]


@pytest.mark.parametrize(
    "content", [(b"",), (), (b"no end",), (b"a\r\n", b"no end"), (b"a\r\n", b"", b"\r\n")]
)
async def test_content_ends_with_a_line_end(content: Sequence[bytes]) -> None:
    whole = b"".join(content)
    whole += b"" if whole.endswith(b"\r\n") or not whole else b"\r\n"
    for keyword in (b"nothing", b"CHUNKING"):
        async with ScriptedSmtp({"EHLO": without(keyword)}) as server:
            (result,) = await post(server, transaction(content=content, dots=True))
        assert isinstance(result, Accepted)
        assert server.contents == [whole]


async def test_large_content_by_chunks() -> None:
    content = [b".%06d\r\n" % number for number in range(40000)]
    async with ScriptedSmtp() as server:
        first, second = await post(server, transaction("b@y.test", "c@y.test", content=content))
    assert isinstance(first, Accepted)
    assert isinstance(second, Accepted)
    assert b"".join(server.contents) == b"".join(content)
    assert len(server.contents) == 6
    assert "DATA" not in server.verbs
    assert server.commands[-2].endswith("LAST")


async def test_extensions_are_used_when_offered() -> None:
    what = transaction(
        Recipient("b@y.test", Notify.SUCCESS | Notify.FAILURE, "rfc822;b+old@y.test"),
        Recipient("c@y.test", Notify.NEVER),
        Recipient("dä@y.test"),
        content=(b"Subject: h\xc3\xa9\r\n\r\n",), eight_bit=True, smtputf8=True, ret="HDRS", envid="Q=1 a",
    )  # fmt: skip
    async with ScriptedSmtp() as server:
        assert all(isinstance(one, Accepted) for one in await post(server, what))
    assert server.commands[1:5] == [
        "MAIL FROM:<a@x.test> SIZE=16 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=Q+3D1+20a",
        "RCPT TO:<b@y.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b+2Bold@y.test",
        "RCPT TO:<c@y.test> NOTIFY=NEVER",
        "RCPT TO:<dä@y.test>",
    ]


@pytest.mark.parametrize(
    ("keyword", "what", "status"),
    [
        (b"SMTPUTF8", transaction(smtputf8=True), "5.6.7"),
        (b"SMTPUTF8", transaction("dä@y.test"), "5.6.7"),
        (
            b"SMTPUTF8",
            transaction(
                content=("To: ä@y.test\r\n\r\nx\r\n".encode(),), eight_bit=True, smtputf8=True
            ),
            "5.6.7",
        ),
        (b"nothing", transaction(size=1000001), "5.3.4"),
        (b"nothing", transaction(sender="a@x.test>\r\nRSET\r\n"), "5.1.7"),
    ],
)
async def test_what_the_host_cannot_take_is_not_asked(
    keyword: bytes, what: MailTransaction, status: str
) -> None:
    async with ScriptedSmtp({"EHLO": without(keyword)}) as server:
        connection = await connector().connect(remote(server.port))
        (result,) = await connection.send(what)
        assert failure_of(result) == ("mail", 0, status, True)
        assert isinstance((await connection.send(transaction()))[0], Accepted)
        await connection.close()
    assert server.verbs == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]


async def test_eight_bits_that_are_only_feared_pass_without_8bitmime() -> None:
    async with ScriptedSmtp({"EHLO": without(b"8BITMIME")}) as server:
        (result,) = await post(server, transaction(eight_bit=True))
    assert isinstance(result, Accepted)
    assert "BODY" not in server.commands[1]


async def test_a_recipient_that_would_break_the_command_is_refused_alone() -> None:
    async with ScriptedSmtp() as server:
        first, second = await post(server, transaction("b@y.test>\r\nDATA\r\n", "c@y.test"))
    assert failure_of(first) == ("rcpt", 0, "5.1.3", True)
    assert isinstance(second, Accepted)
    assert server.verbs == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]


async def test_aiosmtpd_takes_what_is_sent() -> None:
    sink = Sink({"nobody": "550 5.1.1 nobody"})
    await asyncio.to_thread(sink.start)
    try:
        connection = await connector().connect(remote(sink.port))
        content = [b"Subject: x\r\n\r\n", b".dot\r\n" * 20000, b"end"]
        for _ in range(2):
            first, second = await connection.send(
                transaction("b@y.test", "nobody@y.test", content=content, dots=True)
            )
            assert isinstance(first, Accepted)
            assert failure_of(second) == ("rcpt", 550, "5.1.1", True)
        await connection.close()
    finally:
        await asyncio.to_thread(sink.stop)
    assert [one.content for one in sink.taken_by("b@y.test")] == [b"".join(content) + b"\r\n"] * 2
