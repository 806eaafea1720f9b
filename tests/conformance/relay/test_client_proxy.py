"""Connections of the relay's SMTP client through a SOCKS5 proxy (RFC 1928)."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from posthorn.runtime.env_settings import SettingsError
from posthorn_relay.smtp.types import Accepted
from tests.conformance.relay.client_env import (
    HOST,
    QUICK,
    WITH_TLS,
    connector,
    failure_of,
    post,
    refusal,
    remote,
    transaction,
)  # fmt: skip
from tests.support.scripted_smtp import (
    CLOSE,
    STALL,
    Authority,
    ScriptedSmtp,
    Socks5,
)


@pytest.mark.parametrize("login", [None, ("me", "p-w")])
async def test_through_a_proxy(authority: Authority, login: tuple[str, str] | None) -> None:
    context, _ = authority.issue(HOST)
    async with ScriptedSmtp({"EHLO": WITH_TLS}, context) as server, Socks5(login) as proxy:
        url = SecretStr(f"socks5://{'me:p-w@' if login else ''}127.0.0.1:{proxy.port}")
        (result,) = await post(server, transaction(), relay_proxy=url)
        assert isinstance(result, Accepted)
        assert result.tls
        assert proxy.asked == [("127.0.0.1", server.port)]


@pytest.mark.parametrize(("refused", "login"), [(5, None), (4, None), (0, ("me", "other"))])
async def test_a_proxy_that_refuses(refused: int, login: tuple[str, str] | None) -> None:
    async with ScriptedSmtp() as server, Socks5(login, refused) as proxy:
        url = SecretStr(f"socks5://me:s3cret@127.0.0.1:{proxy.port}")
        failed = await refusal(remote(server.port), relay_proxy=url)
    assert failure_of(failed) == ("connect", 0, "4.4.1", False)
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
            failed = await refusal(remote(server.port), relay_proxy=url, **QUICK)
            assert failure_of(failed) == ("connect", 0, "4.4.1", False)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "socks5://127.0.0.1", "nonsense"])
def test_a_proxy_url_that_does_not_read_stops_the_start(url: str) -> None:
    with pytest.raises(SettingsError, match="POSTHORN_RELAY_PROXY") as caught:
        connector(relay_proxy=SecretStr(url))
    assert url not in str(caught.value)
