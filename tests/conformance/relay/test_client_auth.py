"""AUTH of the relay's SMTP client (RFC 4954)."""

from __future__ import annotations

import base64

import pytest
from pydantic import SecretStr

from posthorn_relay.smtp.types import Accepted, Tls
from tests.conformance.relay.client_env import (
    HOST,
    WITH_TLS,
    failure_of,
    post,
    refusal,
    remote,
    transaction,
)  # fmt: skip
from tests.support.scripted_smtp import (
    Authority,
    ScriptedSmtp,
    Socks5,
)

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
async def test_a_login(
    authority: Authority, offer: bytes, replies: list[bytes], said: list[str]
) -> None:
    context, _ = authority.issue(HOST)
    ehlo = [WITH_TLS, b"250-scripted.test\r\n250 " + offer + b"\r\n"]
    async with ScriptedSmtp({"EHLO": ehlo, "AUTH": replies}, context) as server:
        (result,) = await post(
            server, transaction(), remote(server.port, Tls.REQUIRED, login=LOGIN)
        )
    assert isinstance(result, Accepted)
    assert server.commands[3:-4] == said
    # who has sent the message is not asserted to a host that we log in to (RFC 4954 §5)
    assert server.commands[-4] == "MAIL FROM:<a@x.test> AUTH=<>"


async def test_a_login_to_loopback_needs_no_tls_but_elsewhere_it_does() -> None:
    ehlo = b"250-scripted.test\r\n250 AUTH PLAIN\r\n"
    async with ScriptedSmtp({"EHLO": ehlo}) as server:
        assert isinstance(
            (await post(server, transaction(), remote(server.port, login=LOGIN)))[0], Accepted
        )
        async with Socks5() as proxy:  # loopback as the proxy means it is not here
            url = SecretStr(f"socks5://127.0.0.1:{proxy.port}")
            failed = await refusal(remote(server.port, login=LOGIN), relay_proxy=url)
    assert failure_of(failed) == ("auth", 0, "4.7.11", False)
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
async def test_a_refused_login_is_transient_and_never_shown(
    reply: bytes, code: int, status: str
) -> None:
    ehlo = b"250-scripted.test\r\n250 AUTH PLAIN\r\n"
    async with ScriptedSmtp({"EHLO": ehlo, "AUTH": reply}) as server:
        failed = await refusal(remote(server.port, login=LOGIN))
    assert failure_of(failed) == ("auth", code, status, False)
    assert "correct horse" not in failed.reply
    assert PLAIN_LOGIN not in failed.reply
    assert "correct horse" not in repr(failed)
    assert "MAIL" not in server.verbs


async def test_no_mechanism_in_common() -> None:
    async with ScriptedSmtp({"EHLO": b"250-x\r\n250 AUTH GSSAPI\r\n"}) as server:
        assert failure_of(await refusal(remote(server.port, login=LOGIN))) == (
            "auth",
            0,
            "4.7.4",
            False,
        )
