"""The relay's SMTP client against servers that behave and servers that do not."""

from __future__ import annotations

import asyncio
import base64
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from prometheus_client import REGISTRY
from pydantic import SecretStr

from posthorn.model.outbound import Notify
from posthorn.ports.resolver import Tlsa
from posthorn.runtime.settings import SettingsError
from posthorn_relay.line import Line
from posthorn_relay.transport import Accepted, Failed, Parcel, Tls, To
from tests.conformance.relay.stage import (
    HOST,
    LETTER,
    QUICK,
    WITH_TLS,
    connector,
    hop,
    parcel,
    post,
    refusal,
    tlsa,
    told,
    without,
)  # fmt: skip
from tests.support.scripted_smtp import (
    CLOSE,
    FULL,
    PLAIN,
    RESET,
    STALL,
    Authority,
    Do,
    ScriptedSmtp,
    Socks5,
    Step,
    spki,
)
from tests.support.sink import Sink


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


# A good day


async def test_a_letter_in_two_writes() -> None:
    async with ScriptedSmtp() as server:
        (verdict,) = await post(server, parcel())
    assert verdict == Accepted("250 2.0.0 taken as 1", f"{HOST} (127.0.0.1)", "", dsn=True)
    assert server.commands == [
        "EHLO out.example.test", f"MAIL FROM:<a@x.test> SIZE={len(LETTER)}", "RCPT TO:<b@y.test>", "DATA", "QUIT",
    ]  # fmt: skip
    assert server.contents == [LETTER]


async def test_without_pipelining_each_command_waits() -> None:
    async with ScriptedSmtp({"EHLO": PLAIN}) as server:
        first, second = await post(server, parcel("b@y.test", "c@y.test"))
    assert isinstance(first, Accepted)
    assert not first.dsn
    assert isinstance(second, Accepted)
    assert server.commands[1:5] == ["MAIL FROM:<a@x.test>", "RCPT TO:<b@y.test>", "RCPT TO:<c@y.test>", "DATA"]


async def test_helo_where_ehlo_is_not_known() -> None:
    async with ScriptedSmtp({"EHLO": b"502 what\r\n"}) as server:
        (verdict,) = await post(server, parcel())
    assert isinstance(verdict, Accepted)
    assert server.verbs == ["EHLO", "HELO", "MAIL", "RCPT", "DATA", "QUIT"]


async def test_replies_octet_by_octet() -> None:
    script: dict[str, Step] = {
        "GREETING": Do(b"220-scripted\r\n220 ready\r\n", by_octet=True),
        "EHLO": Do(FULL, by_octet=True),
        "RCPT": Do(b"250-2.1.5 fine,\r\n250 2.1.5 quite\r\n", by_octet=True),
        "END": Do(b"250-2.0.0 taken\r\n250 2.0.0 as 7\r\n", by_octet=True),
    }
    async with ScriptedSmtp(script) as server:
        (verdict,) = await post(server, parcel())
    assert isinstance(verdict, Accepted)
    assert verdict.reply == "250 2.0.0 taken as 7"


async def test_one_connection_carries_many() -> None:
    before = REGISTRY.get_sample_value("posthorn_relay_smtp_transactions_total", {"connection": "reused"}) or 0.0
    async with ScriptedSmtp() as server:
        connection = await connector().connect(hop(server.port))
        for number in range(5):
            assert connection.usable
            (verdict,) = await connection.send(parcel(content=(b"%d\r\n" % number,)))
            assert isinstance(verdict, Accepted)
        await connection.close()
        assert not connection.usable
    assert server.contents == [b"%d\r\n" % number for number in range(5)]
    assert server.connections == 1
    assert "RSET" not in server.verbs
    after = REGISTRY.get_sample_value("posthorn_relay_smtp_transactions_total", {"connection": "reused"})
    assert after == before + 4


@pytest.mark.parametrize("cut", range(len(b"..a\r\n.b\r\n.\r\n\r\n.c\r\n")))
async def test_dots_are_stuffed_wherever_the_content_is_cut(cut: int) -> None:
    # Blocks of 64 KiB are cut by filling up to the place
    content = b"..a\r\n.b\r\n.\r\n\r\n.c\r\n"
    filling = (b"x" * 998 + b"\r\n") * 65 + b"x" * 534 + b"\r\n"
    async with ScriptedSmtp({"EHLO": without(b"CHUNKING")}) as server:
        (verdict,) = await post(server, parcel(content=(filling + content[:cut], content[cut:]), dots=True))
    assert isinstance(verdict, Accepted)
    assert server.contents == [filling + b"...a\r\n..b\r\n..\r\n\r\n..c\r\n"]


@pytest.mark.parametrize("content", [(b"",), (), (b"no end",), (b"a\r\n", b"no end"), (b"a\r\n", b"", b"\r\n")])
async def test_content_ends_with_a_line_end(content: Sequence[bytes]) -> None:
    whole = b"".join(content)
    whole += b"" if whole.endswith(b"\r\n") or not whole else b"\r\n"
    for keyword in (b"nothing", b"CHUNKING"):
        async with ScriptedSmtp({"EHLO": without(keyword)}) as server:
            (verdict,) = await post(server, parcel(content=content, dots=True))
        assert isinstance(verdict, Accepted)
        assert server.contents == [whole]


async def test_large_content_by_chunks() -> None:
    content = [b".%06d\r\n" % number for number in range(40000)]
    async with ScriptedSmtp() as server:
        first, second = await post(server, parcel("b@y.test", "c@y.test", content=content))
    assert isinstance(first, Accepted)
    assert isinstance(second, Accepted)
    assert b"".join(server.contents) == b"".join(content)
    assert len(server.contents) == 6
    assert "DATA" not in server.verbs
    assert server.commands[-2].endswith("LAST")


async def test_extensions_are_used_when_offered() -> None:
    what = parcel(
        To("b@y.test", Notify.SUCCESS | Notify.FAILURE, "rfc822;b+old@y.test"),
        To("c@y.test", Notify.NEVER),
        To("dä@y.test"),
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
        (b"SMTPUTF8", parcel(smtputf8=True), "5.6.7"),
        (b"SMTPUTF8", parcel("dä@y.test"), "5.6.7"),
        (
            b"SMTPUTF8",
            parcel(content=("To: ä@y.test\r\n\r\nx\r\n".encode(),), eight_bit=True, smtputf8=True),
            "5.6.7",
        ),
        (b"nothing", parcel(size=1000001), "5.3.4"),
        (b"nothing", parcel(sender="a@x.test>\r\nRSET\r\n"), "5.1.7"),
    ],
)
async def test_what_the_host_cannot_take_is_not_asked(keyword: bytes, what: Parcel, status: str) -> None:
    async with ScriptedSmtp({"EHLO": without(keyword)}) as server:
        connection = await connector().connect(hop(server.port))
        (verdict,) = await connection.send(what)
        assert told(verdict) == ("mail", 0, status, True)
        assert isinstance((await connection.send(parcel()))[0], Accepted)
        await connection.close()
    assert server.verbs == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]


async def test_eight_bits_that_are_only_feared_pass_without_8bitmime() -> None:
    async with ScriptedSmtp({"EHLO": without(b"8BITMIME")}) as server:
        (verdict,) = await post(server, parcel(eight_bit=True))
    assert isinstance(verdict, Accepted)
    assert "BODY" not in server.commands[1]


async def test_a_recipient_that_would_break_the_command_is_refused_alone() -> None:
    async with ScriptedSmtp() as server:
        first, second = await post(server, parcel("b@y.test>\r\nDATA\r\n", "c@y.test"))
    assert told(first) == ("rcpt", 0, "5.1.3", True)
    assert isinstance(second, Accepted)
    assert server.verbs == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]


# Refusals


@pytest.mark.parametrize("ehlo", [FULL, PLAIN])
async def test_each_recipient_has_its_own_verdict(ehlo: bytes) -> None:
    rcpt = [b"250 ok\r\n", b"550 5.1.1 nobody\r\n", b"450 4.2.1 later\r\n", b"552 too many\r\n", b"551 gone\r\n"]
    async with ScriptedSmtp({"EHLO": ehlo, "RCPT": rcpt}) as server:
        verdicts = await post(server, parcel(*(f"{name}@y.test" for name in "abcde")))
    assert isinstance(verdicts[0], Accepted)
    assert [told(verdict) for verdict in verdicts[1:]] == [
        ("rcpt", 550, "5.1.1", True),
        ("rcpt", 450, "4.2.1", False),
        ("rcpt", 552, "4.5.3", False),
        ("rcpt", 551, "5.0.0", True),
    ]
    assert server.contents == [LETTER]


@pytest.mark.parametrize("ehlo", [FULL, PLAIN])
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ({"MAIL": [b"550 5.7.1 no\r\n", b"250 ok\r\n"]}, ("mail", 550, "5.7.1", True)),
        ({"MAIL": [b"451 no\r\n", b"250 ok\r\n"]}, ("mail", 451, "4.0.0", False)),
        ({"RCPT": [b"550 5.1.1 no\r\n", b"250 ok\r\n"]}, ("rcpt", 550, "5.1.1", True)),
        ({"DATA": [b"451 4.3.0 no\r\n", b"354 go\r\n"]}, ("data", 451, "4.3.0", False)),
        ({"DATA": [b"554 5.6.0 no\r\n", b"354 go\r\n"]}, ("data", 554, "5.6.0", True)),
        ({"END": [b"554 5.7.1 spam\r\n", b"250 ok\r\n"]}, ("end", 554, "5.7.1", True)),
        ({"END": [b"452 4.3.1 full\r\n", b"250 ok\r\n"]}, ("end", 452, "4.3.1", False)),
        ({"END": [b"550 4.7.1 two minds\r\n", b"250 ok\r\n"]}, ("end", 550, "5.0.0", True)),
    ],
)  # fmt: skip
async def test_a_refusal_and_the_next_parcel_by_the_same_connection(
    ehlo: bytes, script: dict[str, Step], expected: tuple[str, int, str, bool]
) -> None:
    async with ScriptedSmtp({"EHLO": ehlo, **script}) as server:
        connection = await connector().connect(hop(server.port))
        (verdict,) = await connection.send(parcel())
        assert told(verdict) == expected
        assert connection.usable
        (verdict,) = await connection.send(parcel(content=(b"next\r\n",)))
        assert isinstance(verdict, Accepted)
        await connection.close()
    assert server.verbs.count("RSET") == 1
    assert server.contents[-1] == b"next\r\n"


@pytest.mark.parametrize(
    "script",
    [
        {"DATA": [b"554 5.5.1 no recipients\r\n", b"354 go\r\n"]},
        {"END": [b"554 5.5.1 no recipients\r\n", b"250 ok\r\n"]},
        {"END": b"250 ok\r\n"},
    ],
)
async def test_pipelined_data_with_nobody_to_send_to_carries_nothing(script: dict[str, Step]) -> None:
    async with ScriptedSmtp({"RCPT": [b"550 5.1.1 no\r\n", b"250 ok\r\n"], **script}) as server:
        connection = await connector().connect(hop(server.port))
        (verdict,) = await connection.send(parcel())
        assert told(verdict) == ("rcpt", 550, "5.1.1", True)
        assert server.contents in ([], [b""])
        assert isinstance((await connection.send(parcel()))[0], Accepted)
        await connection.close()
    assert server.contents[-1] == LETTER


async def test_a_refused_chunk_ends_the_transaction() -> None:
    content = [b"x" * 998 + b"\r\n"] * 900
    script: dict[str, Step] = {
        "BDAT": [b"250 ok\r\n", b"552 5.3.4 too big\r\n", b"503 no\r\n"],
        "END": b"503 5.5.1 what\r\n",
    }
    async with ScriptedSmtp({**script, "EHLO": FULL.replace(b" 1000000", b"")}) as server:
        connection = await connector().connect(hop(server.port))
        (verdict,) = await connection.send(parcel(content=content))
        assert isinstance(verdict, Failed)
        assert (verdict.code, verdict.status, verdict.permanent) == (552, "5.3.4", True)
        server.script = {}
        assert isinstance((await connection.send(parcel()))[0], Accepted)
        await connection.close()


async def test_no_content_is_thrown_after_a_refused_chunked_transaction() -> None:
    async with ScriptedSmtp({"RCPT": b"550 5.1.1 no\r\n"}) as server:
        (verdict,) = await post(server, parcel(dots=True))
    assert told(verdict) == ("rcpt", 550, "5.1.1", True)
    assert server.verbs == ["EHLO", "MAIL", "RCPT", "QUIT"]


async def test_a_refusal_counts_though_the_host_then_leaves() -> None:
    async with ScriptedSmtp({"MAIL": Do(b"550 5.7.1 go away\r\n", then="close")}) as server:
        (verdict,) = await post(server, parcel())
    assert told(verdict) == ("mail", 550, "5.7.1", True)


async def test_what_a_host_says_is_shown_in_one_clean_line() -> None:
    evil = b"550-5.7.1 \x1b[31mred\x07\xff\r\n550 5.7.1 " + "\u202eb\u00fccher ".encode() + b"z" * 900 + b"\r\n"
    async with ScriptedSmtp({"END": evil}) as server:
        (verdict,) = await post(server, parcel())
    assert isinstance(verdict, Failed)
    assert verdict.reply.startswith("550 5.7.1 ?[31mred?")
    assert verdict.reply.isprintable()
    assert len(verdict.reply) == 500
    assert "bücher" in verdict.reply


# Bad days

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
async def test_a_host_that_fails_in_a_transaction(ehlo: bytes, verb: str, step: Step, code: int, status: str) -> None:
    async with ScriptedSmtp({"EHLO": ehlo, verb: step}) as server:
        connection = await connector(**QUICK).connect(hop(server.port))
        began = time.monotonic()
        verdicts = await connection.send(parcel("b@y.test", "c@y.test"))
        assert time.monotonic() - began < 2
        assert [told(verdict) for verdict in verdicts] == [(STAGES[verb], code, status, False)] * 2
        assert not connection.usable
        await connection.close()


@pytest.mark.parametrize(
    ("verb", "reply"),
    [("MAIL", b"354 go\r\n"), ("RCPT", b"334 what\r\n"), ("DATA", b"250 ok\r\n"), ("END", b"354 go\r\n")],
)
async def test_a_reply_that_does_not_fit_ends_the_connection(verb: str, reply: bytes) -> None:
    async with ScriptedSmtp({verb: reply}) as server:
        connection = await connector(**QUICK).connect(hop(server.port))
        (verdict,) = await connection.send(parcel())
        assert told(verdict) == (STAGES[verb], 0, "4.5.0", False)
        assert not connection.usable


async def test_replies_that_nobody_asked_for_are_never_taken_for_answers() -> None:
    async with ScriptedSmtp({"END": b"250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n"}) as server:
        connection = await connector(**QUICK).connect(hop(server.port))
        await connection.send(parcel())
        assert not connection.usable
        (verdict,) = await connection.send(parcel())
        assert told(verdict) == ("mail", 0, "4.5.0", False)
    assert len(server.contents) == 1


@pytest.mark.parametrize("farewell", [Do(b"250 ok\r\n421 idle\r\n", then="close"), Do(b"250 ok\r\n", then="close")])
async def test_a_connection_closed_while_idle_is_not_usable(farewell: Do) -> None:
    async with ScriptedSmtp({"END": farewell}) as server:
        connection = await connector().connect(hop(server.port))
        assert isinstance((await connection.send(parcel()))[0], Accepted)
        deadline = time.monotonic() + 5
        while connection.usable:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.005)
        (verdict,) = await connection.send(parcel())
        assert told(verdict)[0] == "mail"
        assert not told(verdict)[3]
        await connection.close()


async def test_a_slow_host_has_its_time_for_each_reply() -> None:
    script: dict[str, Step] = {"RCPT": Do(b"250 " + b"slow" * 10 + b"\r\n", by_octet=True)}

    class Slow(ScriptedSmtp):
        async def _do(self, verb: str, writer: asyncio.StreamWriter) -> bytes | None:
            if verb == "RCPT":
                await asyncio.sleep(0.15)
            return await ScriptedSmtp._do(self, verb, writer)

    async with Slow(script) as server:  # 0.9 s in all, 0.4 s for each
        verdicts = await post(server, parcel(*(f"{name}@y.test" for name in "abcdef")), **QUICK)
    assert all(isinstance(verdict, Accepted) for verdict in verdicts)


@pytest.mark.parametrize("keyword", [b"CHUNKING", b"nothing"])
async def test_a_host_that_takes_no_content(keyword: bytes) -> None:
    content = [b"x" * 998 + b"\r\n"] * 30000
    async with ScriptedSmtp(
        {"EHLO": without(keyword, b"SIZE"), "DATA": Do(b"354 go\r\n", then="stall"), "BDAT": STALL}
    ) as server:
        connection = await connector(**QUICK).connect(hop(server.port))
        (verdict,) = await connection.send(parcel(content=content))
        assert told(verdict) == ("data", 0, "4.4.2", False)
        assert isinstance(verdict, Failed)
        assert "took nothing" in verdict.reply


async def test_a_host_that_refuses_in_the_midst_of_the_content() -> None:
    content = [b"x" * 998 + b"\r\n"] * 30000
    script: dict[str, Step] = {
        "EHLO": without(b"CHUNKING", b"SIZE"),
        "DATA": Do(b"354 go\r\n552 5.3.4 enough\r\n", then="stall"),
    }
    async with ScriptedSmtp(script) as server:
        (verdict,) = await post(server, parcel(content=content), **QUICK)
    assert told(verdict) == ("data", 552, "5.3.4", True)


async def test_a_fault_of_the_store_comes_through() -> None:
    async def early() -> AsyncIterator[bytes]:
        for _ in ():
            yield b""
        raise RuntimeError("store")

    reads = 0

    async def late() -> AsyncIterator[bytes]:
        nonlocal reads
        reads += 1
        is_sent = reads == 1  # the second one looks for long lines
        yield (b"x" * 998 + b"\r\n") * 70
        yield b"y"
        if is_sent:
            raise RuntimeError("store")

    async with ScriptedSmtp() as server:
        for content in (early, late):
            connection = await connector().connect(hop(server.port))
            with pytest.raises(RuntimeError, match="store"):
                await connection.send(Parcel("a@x.test", [To("b@y.test")], 5, content, False, False, False))
            assert connection.usable is (content is early)
            await connection.close()
    assert server.contents == []


async def test_a_cancelled_send_leaves_nothing_to_use() -> None:
    async with ScriptedSmtp({"MAIL": STALL}) as server:
        connection = await connector().connect(hop(server.port))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await connection.send(parcel())
        assert not connection.usable
        await connection.close()


async def test_a_send_that_is_cancelled_with_its_answers_unread_leaves_nothing_to_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = Line.settle

    async def stuck(self: Line, seconds: float, last: float | None = None) -> None:
        await real(self, seconds, last)
        if self.replies and self.replies[0].code == 250:
            await asyncio.Event().wait()

    async with ScriptedSmtp({"RCPT": b"550 5.1.1 no such user\r\n", "DATA": b"554 5.5.1 nobody\r\n"}) as server:
        connection = await connector().connect(hop(server.port))
        monkeypatch.setattr(Line, "settle", stuck)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await connection.send(parcel())
        monkeypatch.setattr(Line, "settle", real)
        assert not connection.usable, "the next parcel would meet these answers"
        await connection.close()


async def test_closing_never_waits_long() -> None:
    async with ScriptedSmtp({"QUIT": STALL}) as server:
        connection = await connector().connect(hop(server.port))
        began = time.monotonic()
        await connection.close()
        await connection.close()
        assert time.monotonic() - began < 2.5


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
async def test_a_host_that_fails_at_the_door(script: dict[str, Step], expected: tuple[str, int, str, bool]) -> None:
    async with ScriptedSmtp(script) as server:
        assert told(await refusal(hop(server.port), **QUICK)) == expected


async def test_nobody_listens() -> None:
    async with ScriptedSmtp() as server:
        port = server.port
    failed = await refusal(hop(port))
    assert told(failed) == ("connect", 0, "4.4.1", False)
    assert failed.reply == f"connecting to port {port}: Connection refused"
    assert failed.host == f"{HOST} (127.0.0.1)"


async def test_the_bind_address_is_used() -> None:
    async with ScriptedSmtp() as server:
        assert isinstance((await post(server, parcel(), relay_bind_ipv4="127.0.0.5"))[0], Accepted)
        failed = await refusal(hop(server.port), relay_bind_ipv4="192.0.2.1")
    assert told(failed) == ("connect", 0, "4.4.1", False)


# TLS


@pytest.mark.parametrize(
    ("tls", "level"),
    [
        (Tls.OPPORTUNISTIC, "unverified"),
        (Tls.REQUIRED, "unverified"),
        (Tls.VERIFIED, "verified"),
        (Tls.IMPLICIT, "verified"),
    ],
)
async def test_a_letter_over_tls(authority: Authority, tls: Tls, level: str) -> None:
    context, _ = authority.issue(HOST)
    async with ScriptedSmtp({"EHLO": WITH_TLS}, context, implicit=tls is Tls.IMPLICIT) as server:
        connection = await connector(authority.trust).connect(hop(server.port, tls))
        large = [b"x" * 998 + b"\r\n"] * 500
        for content in ([LETTER], large):
            (verdict,) = await connection.send(parcel(content=content))
            assert isinstance(verdict, Accepted)
            assert verdict.tls == f"TLSv1.3 TLS_AES_256_GCM_SHA384 {level}"
        await connection.close()
    assert b"".join(server.contents) == LETTER + b"".join(large)
    opening = [] if tls is Tls.IMPLICIT else ["EHLO", "STARTTLS"]
    assert server.verbs[: len(opening) + 2] == [*opening, "EHLO", "MAIL"]


async def test_a_route_without_tls_stays_plain(authority: Authority) -> None:
    context, _ = authority.issue(HOST)
    async with ScriptedSmtp({"EHLO": WITH_TLS}, context) as server:
        (verdict,) = await post(server, parcel(), hop(server.port, Tls.NONE))
    assert isinstance(verdict, Accepted)
    assert verdict.tls == ""
    assert "STARTTLS" not in server.verbs


@pytest.mark.parametrize("names", [("other.test", HOST), ("*.scripted.test",), ("127.0.0.1", HOST)])
async def test_one_of_the_names_will_do(authority: Authority, names: tuple[str, ...]) -> None:
    context, _ = authority.issue(*names)
    async with ScriptedSmtp({"EHLO": WITH_TLS}, context) as server:
        wanted = ("mail.nowhere.test", HOST)
        connection = await connector(authority.trust).connect(hop(server.port, Tls.VERIFIED, names=wanted))
        await connection.close()


@pytest.mark.parametrize("tls", [Tls.VERIFIED, Tls.IMPLICIT])
@pytest.mark.parametrize(
    ("names", "expired", "trusted", "why"),
    [
        (("other.test",), False, True, f"the certificate is not for {HOST}"),
        (("*.test", "a.mx.scripted.test"), False, True, f"the certificate is not for {HOST}"),
        ((), False, True, "the certificate bears no name"),
        ((HOST,), True, True, "the certificate: certificate has expired"),
        ((HOST,), False, False, "the certificate: self-signed certificate in certificate chain"),
    ],
)
async def test_a_certificate_that_does_not_verify_is_never_passed_over(
    authority: Authority, tmp_path: Path, tls: Tls, names: tuple[str, ...], expired: bool, trusted: bool, why: str
) -> None:
    context, _ = authority.issue(*names, expired=expired)
    trust = authority.trust if trusted else Authority(tmp_path, "Another").trust
    async with ScriptedSmtp({"EHLO": WITH_TLS}, context, implicit=tls is Tls.IMPLICIT) as server:
        failed = await refusal(hop(server.port, tls), trust=trust)
    assert told(failed) == ("tls", 0, "4.7.5", False)
    assert failed.reply == why
    assert server.verbs == ([] if tls is Tls.IMPLICIT else ["EHLO", "STARTTLS"])


@pytest.mark.parametrize("tls", [Tls.REQUIRED, Tls.VERIFIED, Tls.DANE])
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ({"EHLO": FULL}, ("tls", 0, "4.7.4", False)),
        ({"EHLO": b"500 no\r\n"}, ("tls", 0, "4.7.4", False)),
        ({"EHLO": WITH_TLS, "STARTTLS": b"454 4.7.0 not now\r\n"}, ("tls", 454, "4.7.4", False)),
        ({"EHLO": WITH_TLS, "STARTTLS": b"554 5.7.3 never\r\n"}, ("tls", 554, "4.7.4", False)),
        ({"EHLO": WITH_TLS, "STARTTLS": CLOSE}, ("tls", 0, "4.4.2", False)),
    ],
)
async def test_tls_that_is_demanded_is_never_done_without(
    tls: Tls, script: dict[str, Step], expected: tuple[str, int, str, bool]
) -> None:
    async with ScriptedSmtp(script) as server:
        at = hop(server.port, tls, tlsa=(Tlsa(3, 1, 1, b"x" * 32),), login=("user", "hunter2"))
        failed = await refusal(at)
    assert told(failed) == expected
    assert not {"MAIL", "AUTH"} & set(server.verbs)


@pytest.mark.parametrize(
    "step", [Do(b"220 go\r\n", then="close"), Do(b"220 go\r\n", then="stall"), b"454 4.7.0 not now\r\n"]
)
async def test_opportunistic_tls_goes_on_in_plain(step: Step) -> None:
    async with ScriptedSmtp({"EHLO": WITH_TLS, "STARTTLS": step}) as server:
        (verdict,) = await post(server, parcel(), **QUICK)
    assert isinstance(verdict, Accepted)
    assert verdict.tls == ""
    assert server.contents == [LETTER]
    assert server.verbs.count("STARTTLS") == 1


@pytest.mark.parametrize("tls", [Tls.OPPORTUNISTIC, Tls.REQUIRED])
async def test_a_host_with_no_tls_in_common(authority: Authority, tls: Tls) -> None:
    context, _ = authority.issue(HOST)
    context.set_ciphers("aNULL:@SECLEVEL=0")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with ScriptedSmtp({"EHLO": WITH_TLS}, context) as server:
        if tls is Tls.OPPORTUNISTIC:
            (verdict,) = await post(server, parcel())
            assert isinstance(verdict, Accepted)
            assert verdict.tls == ""
            assert server.connections == 2
        else:
            failed = await refusal(hop(server.port, tls))
            assert told(failed) == ("tls", 0, "4.7.5", False)
            assert failed.reply.startswith("TLS handshake: ")
            assert server.connections == 1


@pytest.mark.parametrize("tls", [Tls.OPPORTUNISTIC, Tls.REQUIRED])
@pytest.mark.parametrize("more", [b"250 injected\r\n", b"250-half", b"250-scripted\r\n250 AUTH PLAIN\r\n"])
async def test_octets_injected_before_the_handshake_end_it(authority: Authority, tls: Tls, more: bytes) -> None:
    context, _ = authority.issue(HOST)
    async with ScriptedSmtp({"EHLO": WITH_TLS, "STARTTLS": b"220 go\r\n" + more}, context) as server:
        failed = await refusal(hop(server.port, tls))
    assert failed.stage == "tls"
    assert not failed.permanent
    assert server.connections == 1
    assert server.verbs == ["EHLO", "STARTTLS"]


async def test_what_was_offered_in_plain_does_not_count_under_tls(authority: Authority) -> None:
    context, _ = authority.issue(HOST)
    async with ScriptedSmtp({"EHLO": [WITH_TLS, PLAIN]}, context) as server:
        (verdict,) = await post(server, parcel())
    assert isinstance(verdict, Accepted)
    assert not verdict.dsn
    assert "MAIL FROM:<a@x.test>" in server.commands


# DANE


@pytest.mark.parametrize("matching", [0, 1, 2])
@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("usage", [2, 3])
async def test_dane_matches(authority: Authority, usage: int, selector: int, matching: int) -> None:
    context, leaf = authority.issue(HOST) if usage == 2 else authority.issue("other.test", expired=True)
    certificate = authority.certificate if usage == 2 else leaf
    octets = spki(certificate) if selector else certificate.public_bytes(Encoding.DER)
    records = (Tlsa(3, 1, 1, b"\0" * 32), tlsa(usage, selector, matching, octets))
    async with ScriptedSmtp({"EHLO": WITH_TLS}, context) as server:
        (verdict,) = await post(server, parcel(), hop(server.port, Tls.DANE, tlsa=records))
    assert isinstance(verdict, Accepted)
    assert verdict.tls == "TLSv1.3 TLS_AES_256_GCM_SHA384 dane"


@pytest.mark.parametrize(
    "case", ["other key", "other anchor", "leaf as anchor", "wrong name", "expired", "anchor's key, another's name"]
)
async def test_dane_mismatches(authority: Authority, tmp_path: Path, case: str) -> None:
    context, leaf = authority.issue("other.test" if case == "wrong name" else HOST, expired=case == "expired")
    stranger = Authority(tmp_path, "Stranger")
    record = {
        "other key": tlsa(3, 1, 1, spki(stranger.certificate)),
        "other anchor": tlsa(2, 0, 1, stranger.der),
        "leaf as anchor": tlsa(2, 1, 1, spki(leaf)),
        "wrong name": tlsa(2, 0, 1, authority.der),
        "expired": tlsa(2, 0, 1, authority.der),
        "anchor's key, another's name": tlsa(2, 0, 0, Authority(tmp_path, authority.name).der),
    }[case]
    async with ScriptedSmtp({"EHLO": WITH_TLS}, context) as server:
        failed = await refusal(hop(server.port, Tls.DANE, tlsa=(record,)))
    assert told(failed) == ("tls", 0, "4.7.5", False)
    assert server.connections == 1


async def test_an_end_certificate_is_no_anchor_for_others(authority: Authority, tmp_path: Path) -> None:
    """One that may not sign has signed the host's: the path does not hold."""
    between = Authority(tmp_path, "Between")
    between.certificate = between._sign("Between", between.key, authority=False)
    context, _ = between.issue(HOST)
    async with ScriptedSmtp({"EHLO": WITH_TLS}, context) as server:
        failed = await refusal(hop(server.port, Tls.DANE, tlsa=(tlsa(2, 0, 1, between.der),)))
    assert told(failed) == ("tls", 0, "4.7.5", False)
    assert failed.reply == "a certificate of the chain may sign none"


async def test_with_no_usable_record_tls_is_required_and_no_more(authority: Authority) -> None:
    context, _ = authority.issue("other.test")
    records = (Tlsa(0, 0, 1, b"x" * 32), Tlsa(3, 1, 1, b"short"), Tlsa(3, 7, 1, b"x" * 32), Tlsa(2, 0, 9, b"x"))
    async with ScriptedSmtp({"EHLO": WITH_TLS}, context) as server:
        (verdict,) = await post(server, parcel(), hop(server.port, Tls.DANE, tlsa=records))
        assert isinstance(verdict, Accepted)
        assert verdict.tls.endswith("unverified")
        server.script = {"EHLO": FULL}
        assert told(await refusal(hop(server.port, Tls.DANE, tlsa=records)))[0] == "tls"


# AUTH

LOGIN = ("user@y.test", "correct horse")
PLAIN_LOGIN = base64.b64encode("\0{}\0{}".format(*LOGIN).encode()).decode()


@pytest.mark.parametrize(
    ("offer", "replies", "said"),
    [
        (b"AUTH LOGIN PLAIN", [b"235 ok\r\n"], [f"AUTH PLAIN {PLAIN_LOGIN}"]),
        (b"AUTH=PLAIN", [b"334 \r\n", b"235 ok\r\n"], [f"AUTH PLAIN {PLAIN_LOGIN}", f"+ {PLAIN_LOGIN}"]),
        (
            b"AUTH LOGIN CRAM-MD5", [b"334 VXNlcm5hbWU6\r\n", b"334 UGFzc3dvcmQ6\r\n", b"235 ok\r\n"],
            ["AUTH LOGIN", *(f"+ {base64.b64encode(one.encode()).decode()}" for one in LOGIN)],
        ),
    ],
)  # fmt: skip
async def test_a_login(authority: Authority, offer: bytes, replies: list[bytes], said: list[str]) -> None:
    context, _ = authority.issue(HOST)
    ehlo = [WITH_TLS, b"250-scripted.test\r\n250 " + offer + b"\r\n"]
    async with ScriptedSmtp({"EHLO": ehlo, "AUTH": replies}, context) as server:
        (verdict,) = await post(server, parcel(), hop(server.port, Tls.REQUIRED, login=LOGIN))
    assert isinstance(verdict, Accepted)
    assert server.commands[3:-4] == said


async def test_a_login_to_loopback_needs_no_tls_but_elsewhere_it_does() -> None:
    ehlo = b"250-scripted.test\r\n250 AUTH PLAIN\r\n"
    async with ScriptedSmtp({"EHLO": ehlo}) as server:
        assert isinstance((await post(server, parcel(), hop(server.port, login=LOGIN)))[0], Accepted)
        async with Socks5() as proxy:  # loopback as the proxy means it is not here
            url = SecretStr(f"socks5://127.0.0.1:{proxy.port}")
            failed = await refusal(hop(server.port, login=LOGIN), relay_proxy=url)
    assert told(failed) == ("auth", 0, "4.7.11", False)
    assert server.verbs.count("AUTH") == 1


@pytest.mark.parametrize(
    ("reply", "code", "status"),
    [
        (f"535 5.7.8 bad {PLAIN_LOGIN} for correct horse\r\n".encode(), 535, "4.7.8"),
        (b"454 temporary\r\n", 454, "4.7.8"),
        (b"421 4.3.2 correct horse\r\n", 421, "4.3.2"),
        (b"334 more\r\n", 334, "4.7.8"),
    ],
)
async def test_a_refused_login_is_transient_and_never_shown(reply: bytes, code: int, status: str) -> None:
    ehlo = b"250-scripted.test\r\n250 AUTH PLAIN\r\n"
    async with ScriptedSmtp({"EHLO": ehlo, "AUTH": reply}) as server:
        failed = await refusal(hop(server.port, login=LOGIN))
    assert told(failed) == ("auth", code, status, False)
    assert "correct horse" not in failed.reply
    assert PLAIN_LOGIN not in failed.reply
    assert "correct horse" not in repr(failed)
    assert "MAIL" not in server.verbs


async def test_no_mechanism_in_common() -> None:
    async with ScriptedSmtp({"EHLO": b"250-x\r\n250 AUTH GSSAPI\r\n"}) as server:
        assert told(await refusal(hop(server.port, login=LOGIN))) == ("auth", 0, "4.7.4", False)


# SOCKS5


@pytest.mark.parametrize("login", [None, ("me", "p-w")])
async def test_through_a_proxy(authority: Authority, login: tuple[str, str] | None) -> None:
    context, _ = authority.issue(HOST)
    async with ScriptedSmtp({"EHLO": WITH_TLS}, context) as server, Socks5(login) as proxy:
        url = SecretStr(f"socks5://{'me:p-w@' if login else ''}127.0.0.1:{proxy.port}")
        (verdict,) = await post(server, parcel(), relay_proxy=url)
        assert isinstance(verdict, Accepted)
        assert verdict.tls
        assert proxy.asked == [("127.0.0.1", server.port)]


@pytest.mark.parametrize(("refused", "login"), [(5, None), (4, None), (0, ("me", "other"))])
async def test_a_proxy_that_refuses(refused: int, login: tuple[str, str] | None) -> None:
    async with ScriptedSmtp() as server, Socks5(login, refused) as proxy:
        url = SecretStr(f"socks5://me:s3cret@127.0.0.1:{proxy.port}")
        failed = await refusal(hop(server.port), relay_proxy=url)
    assert told(failed) == ("connect", 0, "4.4.1", False)
    assert "proxy" in failed.reply
    assert "s3cret" not in failed.reply
    assert str(proxy.port) not in failed.reply
    assert server.connections == 0


async def test_a_proxy_that_is_not_there_or_says_nothing() -> None:
    async with Socks5() as proxy:
        gone = proxy.port
    async with (
        ScriptedSmtp() as server,
        ScriptedSmtp({"GREETING": STALL}) as mute,
        ScriptedSmtp({"GREETING": CLOSE}) as shut,
    ):
        for port in (gone, mute.port, shut.port):
            url = SecretStr(f"socks5://127.0.0.1:{port}")
            failed = await refusal(hop(server.port), relay_proxy=url, **QUICK)
            assert told(failed) == ("connect", 0, "4.4.1", False)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "socks5://127.0.0.1", "nonsense"])
def test_a_proxy_url_that_does_not_read_stops_the_start(url: str) -> None:
    with pytest.raises(SettingsError, match="POSTHORN_RELAY_PROXY") as caught:
        connector(relay_proxy=SecretStr(url))
    assert url not in str(caught.value)


# A real server


async def test_aiosmtpd_takes_what_is_sent() -> None:
    sink = Sink({"nobody": "550 5.1.1 nobody"})
    await asyncio.to_thread(sink.start)
    try:
        connection = await connector().connect(hop(sink.port))
        content = [b"Subject: x\r\n\r\n", b".dot\r\n" * 20000, b"end"]
        for _ in range(2):
            first, second = await connection.send(parcel("b@y.test", "nobody@y.test", content=content, dots=True))
            assert isinstance(first, Accepted)
            assert told(second) == ("rcpt", 550, "5.1.1", True)
        await connection.close()
    finally:
        await asyncio.to_thread(sink.stop)
    assert [one.content for one in sink.of("b@y.test")] == [b"".join(content) + b"\r\n"] * 2
