"""Addresses of others go into MAIL, RCPT and ORCPT as they are written: their hosts judge them
(RFC 5321 §2.3.11)."""

from __future__ import annotations

import pytest

from posthorn_relay.smtp.types import Accepted, Recipient
from tests.conformance.relay.client_env import failure_of, post, transaction, without
from tests.support.scripted_smtp import FULL, ScriptedSmtp

ODD = [
    ".foo@y.test",
    "foo.@y.test",
    "a..b@y.test",
    "...@y.test",
    '"a..b"@y.test',
    '"a b"@y.test',
    '" "@y.test',
    '"a@b"@y.test',
    r'"a\"b\\"@y.test',
    '"<a>"@y.test',
    '"a> SIZE=1"@y.test',
    'a."b c".d@y.test',
    "Foo.BAR@y.test",
    "bounce+a=b.test!c%d@y.test",
    "y" * 200 + "@y.test",
    "u@my_host.y.test",
    "u@_a.-b-.y.test",
    "u@[192.0.2.1]",
]
BROKEN = [
    "a b@y.test",
    '"a b@y.test',
    "a>b@y.test",
    '"a">@y.test',
    "<a@y.test",
    '"a\r\nb"@y.test',
    '"a\0"@y.test',
    '" @y.test',
]


@pytest.mark.parametrize(
    "offer", [FULL, without(b"PIPELINING", b"SIZE", b"8BITMIME"), b"250 scripted.test\r\n"]
)
@pytest.mark.parametrize("address", ODD)
async def test_an_odd_address_is_named_as_it_is_written(address: str, offer: bytes) -> None:
    async with ScriptedSmtp({"EHLO": offer}) as server:
        results = await post(server, transaction(address, "b@y.test", sender=address))
    assert all(isinstance(result, Accepted) for result in results)
    mail, first, second = server.commands[1:4]
    size = " SIZE=25" if b"SIZE" in offer else ""
    assert mail == f"MAIL FROM:<{address}>{size}"
    assert (first, second) == (f"RCPT TO:<{address}>", "RCPT TO:<b@y.test>")


async def test_the_original_recipient_is_written_as_xtext() -> None:
    recipients = [
        Recipient("b@y.test", orcpt=f"rfc822;{address}")
        for address in ('"a b"@y.test', "a+b..c=@y_z.test", "Ä..@y.test")
    ]
    recipients.append(Recipient("b@y.test", orcpt="utf-8;a+b=c@y.test"))
    async with ScriptedSmtp() as server:
        await post(server, transaction(*recipients))
    assert [command.partition(" ORCPT=")[2] for command in server.commands[2:6]] == [
        'rfc822;"a+20b"@y.test',
        "rfc822;a+2Bb..c+3D@y_z.test",
        r"rfc822;\x{C4}..@y.test",
        r"utf-8;a\x{2B}b\x{3D}c@y.test",
    ]


@pytest.mark.parametrize("address", BROKEN)
async def test_what_would_end_the_path_early_is_never_said(address: str) -> None:
    async with ScriptedSmtp() as server:
        first, second = await post(server, transaction(address, "c@y.test"))
        (refused,) = await post(server, transaction(sender=address))
    assert failure_of(first) == ("rcpt", 0, "5.1.3", True)
    assert isinstance(second, Accepted)
    assert failure_of(refused) == ("mail", 0, "5.1.7", True)
    assert server.verbs == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT", "EHLO", "QUIT"]
