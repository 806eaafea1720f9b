"""The resolver against a DNS server that answers, misleads, cuts short and keeps silent (RFC
5321 §5.1, 7505, 7672)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import dns.rcode
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from posthorn.adapters.dns import DnsResolver
from posthorn.ports.resolver import LookupFailed, NoSuchDomain, NullMx, Tlsa
from posthorn.runtime.env_settings import SettingsError
from posthorn.runtime.settings import server_address
from posthorn_relay.settings import EgressSettings
from tests.support.dns import DnsServer
from tests.support.polling import BUSY_SECONDS, until


@pytest.fixture
async def dns_server() -> AsyncIterator[DnsServer]:
    async with DnsServer() as server:
        yield server


@pytest.fixture
def resolver(dns_server: DnsServer) -> DnsResolver:
    return DnsResolver([dns_server.address], lifetime=BUSY_SECONDS)


@pytest.fixture
def hasty(dns_server: DnsServer) -> DnsResolver:
    """A resolver for servers that are silent: asks again after 1.8 s."""
    return DnsResolver([dns_server.address], lifetime=4.0)


@pytest.fixture
def validating(dns_server: DnsServer) -> DnsResolver:
    return DnsResolver([dns_server.address], use_dnssec=True, lifetime=BUSY_SECONDS)


async def test_exchangers_come_by_preference(dns_server: DnsServer, resolver: DnsResolver) -> None:
    dns_server.add("a.test", "MX", "20 MX2.a.test.", "10 mx1.a.test.", "30 mx3.other.test.")
    found = await resolver.exchangers("a.test")
    assert [(one.preference, one.host) for one in found] == [
        (10, "mx1.a.test"),
        (20, "mx2.a.test"),
        (30, "mx3.other.test"),
    ]


async def test_equal_exchangers_come_in_random_order(
    dns_server: DnsServer, resolver: DnsResolver
) -> None:
    dns_server.add(
        "a.test", "MX", *(f"10 mx{number}.a.test." for number in range(8)), "5 first.a.test."
    )
    orders = {tuple(one.host for one in await resolver.exchangers("a.test")) for _ in range(20)}
    assert len(orders) > 1
    assert {order[0] for order in orders} == {"first.a.test"}
    assert dns_server.asked["a.test", "MX"] == 1


async def test_a_domain_without_mx_is_its_own_exchanger(
    dns_server: DnsServer, resolver: DnsResolver
) -> None:
    dns_server.add("a.test", "A", "192.0.2.1")
    assert [(one.preference, one.host) for one in await resolver.exchangers("a.test")] == [
        (0, "a.test")
    ]


@pytest.mark.parametrize("exists", [True, False])
async def test_a_domain_with_neither_mx_nor_address_is_none(
    dns_server: DnsServer, resolver: DnsResolver, exists: bool
) -> None:
    if exists:
        dns_server.exists("a.test")
    with pytest.raises(NoSuchDomain):
        await resolver.exchangers("a.test")


async def test_a_domain_is_not_given_up_while_its_addresses_cannot_be_asked(
    dns_server: DnsServer, resolver: DnsResolver
) -> None:
    dns_server.exists("a.test")
    dns_server.fail("a.test", "A")
    with pytest.raises(LookupFailed):
        await resolver.exchangers("a.test")


@pytest.mark.parametrize(
    "name", ["a..test", "a" * 64 + ".test", ".".join(["a" * 60] * 5), "", "m\u00e4x.test"]
)
async def test_what_cannot_be_a_name_is_no_domain(
    resolver: DnsResolver, dns_server: DnsServer, name: str
) -> None:
    with pytest.raises(NoSuchDomain):
        await resolver.exchangers(name)
    if name:
        assert await resolver.addresses(name) == ((), False)
        assert not dns_server.asked


async def test_a_null_mx_is_told_apart(dns_server: DnsServer, resolver: DnsResolver) -> None:
    dns_server.add("a.test", "MX", "0 .")
    with pytest.raises(NullMx):
        await resolver.exchangers("a.test")


async def test_exchangers_that_are_no_hosts_are_passed_over(
    dns_server: DnsServer, resolver: DnsResolver
) -> None:
    dns_server.add("a.test", "MX", "0 .", "1 192.0.2.1.", "2 a\\032b.test.", "3 mx.a.test.")
    assert [one.host for one in await resolver.exchangers("a.test")] == ["mx.a.test"]
    dns_server.add("b.test", "MX", "1 192.0.2.1.")
    assert await resolver.exchangers("b.test") == []


async def test_a_crowd_of_exchangers_is_cut_at_the_best_hundred(
    dns_server: DnsServer, resolver: DnsResolver
) -> None:
    dns_server.add("a.test", "MX", *(f"{number} mx{number}.test." for number in range(300)))
    found = await resolver.exchangers("a.test")
    assert [one.preference for one in found] == list(range(100))
    assert dns_server.by_tcp == 1  # it does not fit into a datagram


async def test_an_alias_is_followed(dns_server: DnsServer, resolver: DnsResolver) -> None:
    dns_server.add("a.test", "CNAME", "b.test.")
    dns_server.add("b.test", "MX", "10 mx.b.test.")
    assert [one.host for one in await resolver.exchangers("a.test")] == ["mx.b.test"]


async def test_a_cut_answer_is_asked_for_by_tcp(
    dns_server: DnsServer, resolver: DnsResolver
) -> None:
    dns_server.add("a.test", "MX", "10 mx.a.test.")
    dns_server.cut("a.test", "MX")
    assert [one.host for one in await resolver.exchangers("a.test")] == ["mx.a.test"]
    assert dns_server.by_tcp == 1


@pytest.mark.parametrize(
    "rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.FORMERR, dns.rcode.NOTIMP]
)
async def test_a_refusal_of_the_server_is_no_answer(
    dns_server: DnsServer, resolver: DnsResolver, rcode: dns.rcode.Rcode
) -> None:
    dns_server.fail("a.test", "MX", rcode)
    with pytest.raises(LookupFailed, match=r"MX of a\.test") as caught:
        await resolver.exchangers("a.test")
    assert "127.0.0.1" not in str(caught.value)
    dns_server.fail("a.test", "MX", None)
    dns_server.add("a.test", "MX", "10 mx.a.test.")
    assert await resolver.exchangers("a.test")  # and it is not remembered


async def test_silence_is_no_answer(dns_server: DnsServer, hasty: DnsResolver) -> None:
    dns_server.silence("a.test", "MX")
    async with asyncio.timeout(BUSY_SECONDS):
        with pytest.raises(LookupFailed, match="in time"):
            await hasty.exchangers("a.test")
    assert dns_server.asked["a.test", "MX"] >= 2


async def test_a_lost_datagram_is_asked_again(dns_server: DnsServer, hasty: DnsResolver) -> None:
    dns_server.add("a.test", "MX", "10 mx.a.test.")
    dns_server.silence("a.test", "MX", times=1)
    assert await hasty.exchangers("a.test")
    assert dns_server.asked["a.test", "MX"] == 2


async def test_what_does_not_read_is_no_answer(dns_server: DnsServer, hasty: DnsResolver) -> None:
    dns_server.babble("a.test", "MX")
    with pytest.raises(LookupFailed):
        await hasty.exchangers("a.test")


async def test_another_server_is_asked_when_one_fails(dns_server: DnsServer) -> None:
    dns_server.add("a.test", "MX", "10 mx.a.test.")
    async with DnsServer() as broken:
        broken.fail("a.test", "MX")
        resolver = DnsResolver([broken.address, dns_server.address], lifetime=BUSY_SECONDS)
        assert await resolver.exchangers("a.test")
        assert broken.asked["a.test", "MX"] == 1


async def test_addresses_of_both_families_are_found(
    dns_server: DnsServer, resolver: DnsResolver
) -> None:
    dns_server.add("mx.test", "A", "192.0.2.1", "192.0.2.2")
    dns_server.add("mx.test", "AAAA", "2001:db8::1")
    found, secure = await resolver.addresses("mx.test")
    assert (found[0], sorted(found[1:]), secure) == (
        "2001:db8::1",
        ["192.0.2.1", "192.0.2.2"],
        False,
    )
    assert await resolver.addresses("none.test") == ([], False)


async def test_one_family_is_enough_but_none_is_not_known_by_half(
    dns_server: DnsServer, resolver: DnsResolver
) -> None:
    dns_server.add("mx.test", "A", "192.0.2.1")
    dns_server.fail("mx.test", "AAAA")
    assert await resolver.addresses("mx.test") == (["192.0.2.1"], False)
    dns_server.exists("six.test")
    dns_server.fail("six.test", "AAAA")
    with pytest.raises(LookupFailed):
        await resolver.addresses("six.test")


async def test_answers_are_kept_for_their_ttl(
    dns_server: DnsServer, resolver: DnsResolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    dns_server.add("short.test", "TXT", '"one"', ttl=100)
    dns_server.add("long.test", "TXT", '"one"')
    for _ in range(3):
        assert await resolver.texts("short.test") == ["one"]
        assert await resolver.texts("long.test") == ["one"]
        assert await resolver.texts("none.test") == []
    assert set(dns_server.asked.values()) == {1}
    dns_server.add("short.test", "TXT", '"two"', ttl=100)
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + 101)
    assert await resolver.texts("short.test") == ["two"]
    assert await resolver.texts("long.test") == ["one"]
    assert dns_server.asked["short.test", "TXT"] == 2


async def test_the_same_question_at_once_is_asked_once(
    dns_server: DnsServer, resolver: DnsResolver
) -> None:
    dns_server.add("a.test", "TXT", '"one"')
    assert await asyncio.gather(*(resolver.texts("a.test") for _ in range(50))) == [["one"]] * 50
    assert dns_server.asked["a.test", "TXT"] == 1


async def test_who_gives_up_does_not_take_the_others_answer_away(
    dns_server: DnsServer, hasty: DnsResolver
) -> None:
    dns_server.add("a.test", "TXT", '"one"')
    dns_server.silence("a.test", "TXT", times=1)
    first, second = (
        asyncio.create_task(hasty.texts("a.test")),
        asyncio.create_task(hasty.texts("a.test")),
    )
    await until(lambda: dns_server.asked["a.test", "TXT"] == 1)
    first.cancel()
    assert await second == ["one"]


async def test_strings_of_a_text_are_joined(dns_server: DnsServer, resolver: DnsResolver) -> None:
    dns_server.add("a.test", "TXT", '"v=STSv1; " "id=1;"', '"other"')
    assert sorted(await resolver.texts("a.test")) == ["other", "v=STSv1; id=1;"]


async def test_validation_is_believed_only_when_asked_for(
    dns_server: DnsServer, resolver: DnsResolver, validating: DnsResolver
) -> None:
    dns_server.add("a.test", "MX", "10 mx.a.test.", secure=True)
    dns_server.add("mx.a.test", "A", "192.0.2.1", secure=True)
    dns_server.add("open.test", "MX", "10 mx.a.test.")
    assert [one.secure for one in await validating.exchangers("a.test")] == [True]
    assert [one.secure for one in await validating.exchangers("open.test")] == [False]
    assert await validating.addresses("mx.a.test") == (["192.0.2.1"], True)
    assert [one.secure for one in await resolver.exchangers("a.test")] == [False]


async def test_an_alias_from_an_unsigned_zone_is_not_validated(
    dns_server: DnsServer, validating: DnsResolver
) -> None:
    dns_server.add("alias.test", "CNAME", "mx.a.test.", secure=True)
    dns_server.add("mx.a.test", "A", "192.0.2.1")
    assert await validating.addresses("alias.test") == (["192.0.2.1"], False)


async def test_tlsa_records_are_read(dns_server: DnsServer, validating: DnsResolver) -> None:
    dns_server.add(
        "_25._tcp.mx.a.test", "TLSA", "3 1 1 " + "ab" * 32, "2 0 2 " + "cd" * 64, secure=True
    )
    records, secure = await validating.tlsa("mx.a.test", 25)
    assert secure
    assert sorted(records, key=lambda one: one.usage) == [
        Tlsa(2, 0, 2, b"\xcd" * 64),
        Tlsa(3, 1, 1, b"\xab" * 32),
    ]
    assert await validating.tlsa("none.test", 25) == ([], False)
    dns_server.fail("_25._tcp.bogus.test", "TLSA")
    with pytest.raises(LookupFailed):
        await validating.tlsa("bogus.test", 25)


@pytest.mark.parametrize(
    "server",
    [
        "ns.example.com",
        "127.0.0.1:dns",
        "[::1",
        "1.2.3",
        "",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "[::1]x",
        "::1]:53",
    ],
)
def test_a_server_that_is_no_address_is_refused(server: str) -> None:
    with pytest.raises(ValueError):
        DnsResolver([server])


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("127.0.0.1", ("127.0.0.1", 53)),
        ("127.0.0.1:5353", ("127.0.0.1", 5353)),
        ("::1", ("::1", 53)),
        ("2001:DB8::53", ("2001:db8::53", 53)),
        ("[::1]", ("::1", 53)),
        ("[::1]:5353", ("::1", 5353)),
    ],
)
def test_servers_are_taken_in_each_form(server: str, expected: tuple[str, int]) -> None:
    assert server_address(server) == expected


def test_settings_name_the_variable_that_is_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTHORN_RELAY_DNS_SERVERS", '["127.0.0.1:53", "ns.example.com"]')
    with pytest.raises(SettingsError, match="POSTHORN_RELAY_DNS_SERVERS"):
        EgressSettings.load()
    monkeypatch.setenv("POSTHORN_RELAY_DNS_SERVERS", '["127.0.0.1:5353", "[::1]:53"]')
    assert EgressSettings.load().relay_dns_servers == ("127.0.0.1:5353", "[::1]:53")


async def test_records_are_given_as_text_and_never_kept(dns_server: DnsServer) -> None:
    resolver = DnsResolver([dns_server.address], lifetime=BUSY_SECONDS, keep=False)
    dns_server.add("a.test", "MX", "10 MX.A.test.", "0 .")
    dns_server.add("a.test", "TXT", '"one " "two; Three"', '"\\255"')
    dns_server.add("_imap._tcp.a.test", "SRV", "0 0 0 .", "1 2 143 Imap.a.test.")
    dns_server.add("www.a.test", "CNAME", "Host.a.test.")
    dns_server.add("host.a.test", "A", "192.0.2.1")
    dns_server.add("host.a.test", "AAAA", "2001:DB8::1")
    dns_server.add("1.2.0.192.in-addr.arpa", "PTR", "Host.a.test.")
    assert await resolver.records("a.test", "MX") == ["0 .", "10 mx.a.test"]
    assert await resolver.records("a.test", "TXT") == ["one two; Three", "\ufffd"]
    assert await resolver.records("_imap._tcp.a.test", "SRV") == ["0 0 0 .", "1 2 143 imap.a.test"]
    assert await resolver.records("www.a.test", "CNAME") == ["host.a.test"]
    assert await resolver.records("www.a.test", "A") == ["192.0.2.1"]
    assert await resolver.records("host.a.test", "AAAA") == ["2001:db8::1"]
    assert await resolver.records("1.2.0.192.in-addr.arpa", "PTR") == ["host.a.test"]
    assert await resolver.records("host.a.test", "MX") == []
    assert await resolver.records("nowhere.test", "TXT") == []
    assert await resolver.records("bü.test", "A") == await resolver.records("a..b", "A") == []
    dns_server.add("nowhere.test", "TXT", '"by now"')
    assert await resolver.records("nowhere.test", "TXT") == ["by now"]
    dns_server.fail("a.test", "TXT")
    with pytest.raises(LookupFailed, match="SERVFAIL"):
        await resolver.records("a.test", "TXT")


async def test_that_no_domain_is_answered_is_said_once_and_its_end_once(
    dns_server: DnsServer,
) -> None:
    resolver = DnsResolver([dns_server.address], lifetime=BUSY_SECONDS)
    dns_server.add("kept.test", "MX", "10 mx.kept.test.")
    await resolver.exchangers("kept.test")
    domains = [f"d{number}.test" for number in range(7)]
    for domain in domains:
        dns_server.fail(domain, "MX")
    with capture_logs() as lines:
        for domain in [domains[0]] * 9 + domains:
            with pytest.raises(LookupFailed):
                await resolver.exchangers(domain)
            await resolver.exchangers("kept.test")
        assert REGISTRY.get_sample_value("posthorn_dns_exchangers_away") == 1
        for domain in ("fine.test", "good.test"):
            dns_server.add(domain, "MX", f"10 mx.{domain}.")
            await resolver.exchangers(domain)
    assert REGISTRY.get_sample_value("posthorn_dns_exchangers_away") == 0
    said = [(line["event"], line["log_level"]) for line in lines]
    assert said == [
        ("no domain can be looked up", "error"),
        ("domains are looked up again", "info"),
    ]
    assert "SERVFAIL" in lines[0]["detail"]
