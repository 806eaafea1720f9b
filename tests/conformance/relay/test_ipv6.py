"""Mail by IPv6, and the turn of the families (RFC 5321 §5.2, RFC 8305)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from posthorn.adapters.dns import DnsResolver
from posthorn.runtime.secret_box import SecretBox
from posthorn_relay.routing.mx import MxPlanner
from posthorn_relay.settings import EgressSettings
from posthorn_relay.smtp.connector import SmtpConnector
from posthorn_relay.smtp.types import Accepted, Failed, RemoteHost, SmtpResult, Tls
from tests.conformance.relay.client_env import WITH_TLS, transaction
from tests.support.dns import DnsServer
from tests.support.polling import BUSY_SECONDS
from tests.support.ports import needs_ipv6
from tests.support.scripted_smtp import Authority, ScriptedSmtp

pytestmark = needs_ipv6


@pytest.fixture
async def dns() -> AsyncIterator[DnsServer]:
    async with DnsServer() as server:
        yield server


def settings(dns: DnsServer, port: int, **more: Any) -> EgressSettings:
    return EgressSettings.model_validate(
        {
            "relay_hostname": "out.example.test",
            "relay_loopback": True,
            "relay_mta_sts": False,
            "relay_port": port,
            **more,
        }
    )


async def remotes(dns: DnsServer, made: EgressSettings, destination: str) -> Sequence[RemoteHost]:
    resolver = DnsResolver([dns.address], lifetime=BUSY_SECONDS)
    return await MxPlanner(made, resolver, None, SecretBox([b"k" * 32])).plan(destination, None)


async def deliver(
    dns: DnsServer, made: EgressSettings, destination: str = "a.test"
) -> tuple[SmtpResult, list[str]]:
    """Go through the remotes as a worker does: the first that lets a connection through carries
    the message."""
    tried = []
    for remote in await remotes(dns, made, destination):
        tried.append(remote.address)
        try:
            connection = await SmtpConnector(made).connect(remote)
        except Failed as failed:
            assert failed.is_about_host
            continue
        (result,) = await connection.send(transaction())
        await connection.close()
        return result, tried
    raise AssertionError("no remote worked")


async def test_a_message_goes_by_ipv6_where_there_is_nothing_else(dns: DnsServer) -> None:
    dns.add("a.test", "MX", "10 mx.a.test.")
    dns.add("mx.a.test", "AAAA", "::1")
    async with ScriptedSmtp(address="::1") as six:
        result, tried = await deliver(dns, settings(dns, six.port))
    assert isinstance(result, Accepted)
    assert result.host == "mx.a.test (::1)"
    assert tried == ["::1"]
    assert len(six.contents) == 1


async def test_ipv6_comes_first_then_ipv4(dns: DnsServer) -> None:
    dns.add("a.test", "MX", "10 mx.a.test.", "20 second.a.test.")
    dns.add("mx.a.test", "AAAA", "::1")
    dns.add("mx.a.test", "A", "127.0.0.1")
    dns.add("second.a.test", "A", "127.0.0.1")
    async with ScriptedSmtp() as four:
        async with ScriptedSmtp(address="::1", port=four.port) as six:
            result, tried = await deliver(dns, settings(dns, four.port))
            assert isinstance(result, Accepted)
            assert (tried, six.connections, four.connections) == (["::1"], 1, 0)
        # nobody listens at ::1 any more
        result, tried = await deliver(dns, settings(dns, four.port))
        assert isinstance(result, Accepted)
        assert result.host == "mx.a.test (127.0.0.1)"
        assert tried == ["::1", "127.0.0.1"]
        found = await remotes(dns, settings(dns, four.port, relay_ipv6=False), "a.test")
        assert [remote.address for remote in found] == ["127.0.0.1", "127.0.0.1"]


async def test_a_host_that_refuses_by_ipv6_may_take_it_by_ipv4(dns: DnsServer) -> None:
    dns.add("a.test", "AAAA", "::1")
    dns.add("a.test", "A", "127.0.0.1")
    async with (
        ScriptedSmtp() as four,
        ScriptedSmtp(
            {"GREETING": b"554 5.7.1 no reverse name\r\n"}, address="::1", port=four.port
        ) as six,
    ):
        result, tried = await deliver(dns, settings(dns, four.port))
    assert isinstance(result, Accepted)
    assert tried == ["::1", "127.0.0.1"]
    assert (six.connections, four.connections) == (1, 1)


async def test_an_ipv6_literal_is_a_destination(dns: DnsServer) -> None:
    async with ScriptedSmtp(address="::1") as six:
        result, tried = await deliver(dns, settings(dns, six.port), "[IPv6:::1]")
    assert isinstance(result, Accepted)
    assert tried == ["::1"]


async def test_a_bind_address_is_for_its_own_family(dns: DnsServer) -> None:
    dns.add("a.test", "AAAA", "::1")
    dns.add("a.test", "A", "127.0.0.1")
    async with ScriptedSmtp() as four, ScriptedSmtp(address="::1", port=four.port) as six:
        made = settings(dns, four.port, relay_bind_ipv6="2001:db8::7", relay_bind_ipv4="127.0.0.1")
        # an address that this machine has not: nothing leaves from it
        result, tried = await deliver(dns, made)
        assert isinstance(result, Accepted)
        assert tried == ["::1", "127.0.0.1"]
        made = settings(dns, four.port, relay_bind_ipv6="::1", relay_bind_ipv4="192.0.2.7")
        result, tried = await deliver(dns, made)
        assert isinstance(result, Accepted)
        assert tried == ["::1"]
    assert six.connections == 1


async def test_an_address_can_be_what_a_certificate_is_for(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    authority = Authority(tmp_path_factory.mktemp("ca"))
    context, _ = authority.issue("::1")
    async with ScriptedSmtp({"EHLO": WITH_TLS}, context, address="::1") as six:
        client = SmtpConnector(EgressSettings.model_validate({}), authority.trust)
        connection = await client.connect(
            RemoteHost("::1", "::1", six.port, Tls.VERIFIED, ("0:0:0:0:0:0:0:1",))
        )
        assert connection.tls.endswith("verified")
        await connection.close()
