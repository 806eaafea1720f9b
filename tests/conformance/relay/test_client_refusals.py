"""Refusals of hosts, and what the relay's SMTP client does with a refused transaction (RFC 5321
§4.2)."""

from __future__ import annotations

import pytest

from posthorn_relay.smtp.types import Accepted, Failed
from tests.conformance.relay.client_env import (
    MESSAGE,
    connector,
    failure_of,
    post,
    remote,
    transaction,
)  # fmt: skip
from tests.support.scripted_smtp import (
    FULL,
    PLAIN,
    Do,
    ScriptedSmtp,
    Step,
)


@pytest.mark.parametrize("ehlo", [FULL, PLAIN])
async def test_each_recipient_has_its_own_result(ehlo: bytes) -> None:
    rcpt = [
        b"250 ok\r\n",
        b"550 5.1.1 nobody\r\n",
        b"450 4.2.1 later\r\n",
        b"552 too many\r\n",
        b"551 gone\r\n",
    ]
    async with ScriptedSmtp({"EHLO": ehlo, "RCPT": rcpt}) as server:
        results = await post(server, transaction(*(f"{name}@y.test" for name in "abcde")))
    assert isinstance(results[0], Accepted)
    assert [failure_of(result) for result in results[1:]] == [
        ("rcpt", 550, "5.1.1", True),
        ("rcpt", 450, "4.2.1", False),
        ("rcpt", 552, "4.5.3", False),
        ("rcpt", 551, "5.0.0", True),
    ]
    assert server.contents == [MESSAGE]


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
async def test_a_refusal_and_the_next_transaction_by_the_same_connection(
    ehlo: bytes, script: dict[str, Step], expected: tuple[str, int, str, bool]
) -> None:
    async with ScriptedSmtp({"EHLO": ehlo, **script}) as server:
        connection = await connector().connect(remote(server.port))
        (result,) = await connection.send(transaction())
        assert failure_of(result) == expected
        assert connection.usable
        (result,) = await connection.send(transaction(content=(b"next\r\n",)))
        assert isinstance(result, Accepted)
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
async def test_pipelined_data_with_nobody_to_send_to_carries_nothing(
    script: dict[str, Step],
) -> None:
    async with ScriptedSmtp({"RCPT": [b"550 5.1.1 no\r\n", b"250 ok\r\n"], **script}) as server:
        connection = await connector().connect(remote(server.port))
        (result,) = await connection.send(transaction())
        assert failure_of(result) == ("rcpt", 550, "5.1.1", True)
        assert server.contents in ([], [b""])
        assert isinstance((await connection.send(transaction()))[0], Accepted)
        await connection.close()
    assert server.contents[-1] == MESSAGE


async def test_a_refused_chunk_ends_the_transaction() -> None:
    content = [b"x" * 998 + b"\r\n"] * 900
    script: dict[str, Step] = {
        "BDAT": [b"250 ok\r\n", b"552 5.3.4 too big\r\n", b"503 no\r\n"],
        "END": b"503 5.5.1 what\r\n",
    }
    async with ScriptedSmtp({**script, "EHLO": FULL.replace(b" 1000000", b"")}) as server:
        connection = await connector().connect(remote(server.port))
        (result,) = await connection.send(transaction(content=content))
        assert isinstance(result, Failed)
        assert (result.code, result.status, result.permanent) == (552, "5.3.4", True)
        server.script = {}
        assert isinstance((await connection.send(transaction()))[0], Accepted)
        await connection.close()


async def test_no_content_is_thrown_after_a_refused_chunked_transaction() -> None:
    async with ScriptedSmtp({"RCPT": b"550 5.1.1 no\r\n"}) as server:
        (result,) = await post(server, transaction(dots=True))
    assert failure_of(result) == ("rcpt", 550, "5.1.1", True)
    assert server.verbs == ["EHLO", "MAIL", "RCPT", "QUIT"]


async def test_a_refusal_counts_though_the_host_then_leaves() -> None:
    async with ScriptedSmtp({"MAIL": Do(b"550 5.7.1 go away\r\n", then="close")}) as server:
        (result,) = await post(server, transaction())
    assert failure_of(result) == ("mail", 550, "5.7.1", True)


async def test_what_a_host_says_is_shown_in_one_clean_line() -> None:
    evil = (
        b"550-5.7.1 \x1b[31mred\x07\xff\r\n550 5.7.1 "
        + "\u202eb\u00fccher ".encode()
        + b"z" * 900
        + b"\r\n"
    )
    async with ScriptedSmtp({"END": evil}) as server:
        (result,) = await post(server, transaction())
    assert isinstance(result, Failed)
    assert result.reply.startswith("550 5.7.1 ?[31mred?")
    assert result.reply.isprintable()
    assert len(result.reply) == 500
    assert "bücher" in result.reply
