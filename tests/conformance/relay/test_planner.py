"""From destinations to remotes, with a DNS server that has every kind of domain (RFC 5321 §5.1,
7505, 7672, 8461)."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Sequence
from typing import Any

import dns.rcode
import pytest
from prometheus_client import REGISTRY

from posthorn.adapters.dns import DnsResolver
from posthorn.ports.errors import Unavailable
from posthorn.ports.mta_sts import StoredPolicy
from posthorn.ports.queue import Route
from posthorn.ports.resolver import Tlsa
from posthorn.runtime.secret_box import SecretBox
from posthorn.wire.mta_sts import Mode, Policy
from posthorn_relay.routing.mta_sts import StsPolicies
from posthorn_relay.routing.mta_sts_fetch import FetchFailed
from posthorn_relay.routing.mx import MxPlanner
from posthorn_relay.settings import EgressSettings
from posthorn_relay.smtp.certificates import usable_records
from posthorn_relay.smtp.types import Failed, RemoteHost, StsRequirement, Tls
from tests.support.dns import DnsServer
from tests.support.polling import BUSY_SECONDS

SECRET_BOX = SecretBox([b"k" * 32])
DIGEST = "ab" * 32


class Shelf:
    """StsPolicies that were fetched, in memory; the store on Postgres has tests of its own."""

    def __init__(self) -> None:
        self.kept: dict[str, StoredPolicy] = {}
        self.broken = False

    async def load(self, domain: str) -> StoredPolicy | None:
        if self.broken:
            raise Unavailable("postgres")
        return self.kept.get(domain)

    async def save(self, domain: str, stored: StoredPolicy) -> None:
        self.kept[domain] = stored

    async def fetch(self, domain: str) -> Policy:
        raise FetchFailed("no web here")

    def keep(self, domain: str, mode: Mode, *hosts: str) -> None:
        self.kept[domain] = StoredPolicy("1", mode, hosts, 0.0, 1000.0)


class Scene:
    """A planner, and the names it will find."""

    def __init__(self, dns_server: DnsServer) -> None:
        self.dns = dns_server
        self.shelf = Shelf()
        self.patience = BUSY_SECONDS

    def planner(self, **settings: Any) -> MxPlanner:
        made = EgressSettings.model_validate(settings)
        resolver = DnsResolver([self.dns.address], made.relay_dnssec, lifetime=self.patience)
        policies = (
            StsPolicies(resolver, self.shelf, self.shelf, lambda: 10.0)
            if made.relay_mta_sts
            else None
        )
        return MxPlanner(made, resolver, policies, SECRET_BOX)

    async def plan(
        self,
        destination: str,
        route: Route | None = None,
        *,
        without_policies: bool = False,
        **settings: Any,
    ) -> Sequence[RemoteHost]:
        planner = self.planner(**settings)
        return await planner.plan(destination, route, without_policies=without_policies)

    async def fail(self, destination: str, route: Route | None = None, **settings: Any) -> Failed:
        with pytest.raises(Failed) as caught:
            await self.plan(destination, route, **settings)
        assert caught.value.code == 0
        return caught.value

    def mail_hosts(self, domain: str, hosts: dict[str, int], *, secure: bool = False) -> None:
        """Return a domain MX hosts, each with an address of its own."""
        mx = [f"{preference} {host}." for host, preference in hosts.items()]
        self.dns.add(domain, "MX", *mx, secure=secure)
        for number, host in enumerate(hosts, 1):
            self.dns.add(host, "A", f"192.0.2.{number}", secure=secure)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with DnsServer() as server:
        yield Scene(server)


def places(remotes: Sequence[RemoteHost]) -> list[tuple[str, str]]:
    return [(remote.host, remote.address) for remote in remotes]


async def test_hosts_come_by_preference(scene: Scene) -> None:
    scene.mail_hosts("a.test", {"two.test": 20, "one.test": 10})
    assert await scene.plan("a.test") == [
        RemoteHost("one.test", "192.0.2.2", names=("one.test",)),
        RemoteHost("two.test", "192.0.2.1", names=("two.test",)),
    ]


async def test_families_take_turns_and_ipv6_is_first(scene: Scene) -> None:
    scene.dns.add("a.test", "A", "192.0.2.1", "192.0.2.2")
    scene.dns.add("a.test", "AAAA", "2001:db8::1", "2001:db8::2")
    remotes = await scene.plan("a.test")
    assert [":" in remote.address for remote in remotes] == [True, False, True, False]
    assert len({remote.address for remote in remotes}) == 4
    only = await scene.plan("a.test", relay_ipv6=False)
    assert sorted(remote.address for remote in only) == ["192.0.2.1", "192.0.2.2"]


async def test_hosts_that_were_not_asked_for_may_still_be_there(scene: Scene) -> None:
    scene.dns.add("a.test", "MX", *(f"{number} gone{number}.test." for number in range(12)))
    assert (await scene.fail("a.test")).permanent is True
    scene.dns.add("b.test", "MX", *(f"{number} gone{number}.test." for number in range(13)))
    assert (await scene.fail("b.test")).permanent is False


async def test_addresses_of_a_host_share_the_load(scene: Scene) -> None:
    scene.dns.add("a.test", "A", *(f"192.0.2.{number}" for number in range(1, 5)))
    planner = scene.planner()
    assert len({(await planner.plan("a.test", None))[0].address for _ in range(60)}) > 1


async def test_hops_are_at_most_twelve_and_no_host_takes_them_all(scene: Scene) -> None:
    scene.dns.add("a.test", "MX", *(f"{number} mx{number}.test." for number in range(10)))
    for number in range(10):
        scene.dns.add(f"mx{number}.test", "A", *(f"192.1.{number}.{last}" for last in range(1, 21)))
    remotes = await scene.plan("a.test")
    assert [remote.host for remote in remotes] == ["mx0.test"] * 4 + ["mx1.test"] * 4 + [
        "mx2.test"
    ] * 4


async def test_a_host_without_address_is_passed_over(scene: Scene) -> None:
    scene.mail_hosts("a.test", {"one.test": 10, "two.test": 20})
    scene.dns.remove("one.test", "A")
    assert places(await scene.plan("a.test")) == [("two.test", "192.0.2.2")]


async def test_a_host_that_cannot_be_looked_up_does_not_stop_the_others(scene: Scene) -> None:
    scene.mail_hosts("a.test", {"one.test": 10, "two.test": 20})
    scene.dns.remove("one.test", "A")
    scene.dns.fail("one.test", "A")
    assert places(await scene.plan("a.test")) == [("two.test", "192.0.2.2")]
    scene.dns.fail("two.test", "A")
    failed = await scene.fail("a.test")
    assert (failed.stage, failed.status, failed.permanent) == ("dns", "4.4.3", False)


async def test_what_an_answer_rules_out_is_permanent(scene: Scene) -> None:
    scene.dns.add("null.test", "MX", "0 .")
    scene.dns.add("lost.test", "MX", "10 nowhere.test.")
    scene.dns.add("odd.test", "MX", "10 192.0.2.1.")
    # where there is an MX, the address of the domain itself is not used
    for domain in ("null.test", "lost.test", "odd.test"):
        scene.dns.add(domain, "A", "192.0.2.9")
    for domain, status in {
        "none.test": "5.1.2",
        "null.test": "5.1.10",
        "lost.test": "5.4.4",
        "odd.test": "5.4.4",
    }.items():
        failed = await scene.fail(domain)
        assert (failed.stage, failed.status, failed.permanent) == ("dns", status, True)
        assert domain in failed.reply


@pytest.mark.parametrize("fault", ["servfail", "refused", "silence", "garbage"])
async def test_want_of_an_answer_is_never_permanent(scene: Scene, fault: str) -> None:
    scene.mail_hosts("a.test", {"one.test": 10})
    match fault:
        case "servfail":
            scene.dns.fail("a.test", "MX")
        case "refused":
            scene.dns.fail("a.test", "MX", dns.rcode.REFUSED)
        case "silence":
            scene.patience = 1.0
            scene.dns.silence("a.test", "MX")
        case _:
            scene.patience = 1.0
            scene.dns.babble("a.test", "MX")
    failed = await scene.fail("a.test")
    assert (failed.status, failed.permanent) == ("4.4.3", False)


@pytest.mark.parametrize(
    "settings",
    [{"relay_hostname": "mail.test"}, {"relay_own_names": ("mx.test", "MAIL.test.")}],
    ids=["host", "further"],
)
async def test_our_own_name_cuts_the_set_at_its_preference(
    scene: Scene, settings: dict[str, Any]
) -> None:
    scene.mail_hosts("a.test", {"one.test": 10, "mail.test": 20, "equal.test": 20, "last.test": 30})
    assert places(await scene.plan("a.test", **settings)) == [("one.test", "192.0.2.1")]
    scene.mail_hosts("loop.test", {"mail.test": 10, "last.test": 30})
    failed = await scene.fail("loop.test", **settings)
    assert (failed.status, failed.permanent) == ("5.4.6", True)


async def test_our_own_address_cuts_the_set_too(scene: Scene) -> None:
    scene.mail_hosts("a.test", {"one.test": 10, "alias.test": 20, "last.test": 30})
    assert places(await scene.plan("a.test", relay_bind_ipv4="192.0.2.2")) == [
        ("one.test", "192.0.2.1")
    ]
    assert (await scene.fail("a.test", relay_bind_ipv4="192.0.2.1")).status == "5.4.6"


async def test_a_domain_that_is_our_name_without_mx_is_a_loop(scene: Scene) -> None:
    scene.dns.add("mail.test", "A", "192.0.2.1")
    assert (await scene.fail("mail.test", relay_hostname="mail.test")).status == "5.4.6"


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
        ),
        *(
            "::1",
            "::",
            "fe80::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.1.1",
            "64:ff9b::7f00:1",
        ),
    ],
)
async def test_addresses_that_no_other_host_has_are_not_sent_to(scene: Scene, address: str) -> None:
    scene.dns.add("a.test", "AAAA" if ":" in address else "A", address)
    failed = await scene.fail("a.test")
    assert (failed.status, failed.permanent) == ("5.4.4", True)
    literal = f"[IPv6:{address}]" if ":" in address else f"[{address}]"
    assert (await scene.fail(literal)).status == "5.4.4"
    scene.dns.add("a.test", "MX", "10 a.test.", "20 b.test.")
    scene.dns.add("b.test", "A", "192.0.2.1")
    assert places(await scene.plan("a.test")) == [("b.test", "192.0.2.1")]


async def test_a_global_address_in_another_form_is_sent_to(scene: Scene) -> None:
    scene.dns.add("a.test", "AAAA", "64:ff9b::c000:201")
    assert places(await scene.plan("a.test")) == [("a.test", "64:ff9b::c000:201")]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.0.0.1", "10.0.0.0/8"),
        ("192.168.1.1", "192.168.1.0/24"),
        ("172.16.0.1", "172.16.0.0/12"),
        ("100.64.3.4", "100.64.0.0/10"),
        ("fd00::1", "fd00::/8"),
        ("2002:a00:1::", "10.0.0.0/8"),
        ("::a00:1", "10.0.0.0/8"),
        ("192.0.0.8", "192.0.0.0/24"),
        ("198.18.0.1", "198.18.0.0/15"),
        ("192.88.99.1", "192.88.99.0/24"),
        ("fec0::1", "fec0::/10"),
        ("64:ff9b:1::1", "64:ff9b:1::/48"),
    ],
)
async def test_private_addresses_are_sent_to_where_the_settings_say_so(
    scene: Scene, address: str, network: str
) -> None:
    scene.dns.add("a.test", "AAAA" if ":" in address else "A", address)
    with pytest.raises(Failed) as refused:
        await scene.plan("a.test")
    assert (refused.value.status, refused.value.permanent) == ("5.4.4", True)
    assert places(await scene.plan("a.test", relay_private_networks=(network,))) == [
        ("a.test", address)
    ]


async def test_loopback_is_sent_to_when_a_test_says_so(scene: Scene) -> None:
    scene.dns.add("a.test", "A", "127.0.0.1")
    remotes = await scene.plan("a.test", relay_loopback=True, relay_port=2526)
    assert [(remote.address, remote.port) for remote in remotes] == [("127.0.0.1", 2526)]


@pytest.mark.parametrize(
    ("destination", "address"),
    [("[192.0.2.7]", "192.0.2.7"), ("[IPv6:2001:db8::7]", "2001:db8::7")],
)
async def test_an_address_literal_needs_no_dns(
    scene: Scene, destination: str, address: str
) -> None:
    assert await scene.plan(destination) == [RemoteHost(address, address, names=(address,))]
    assert not scene.dns.asked


async def test_without_direct_delivery_a_route_is_needed(scene: Scene) -> None:
    scene.mail_hosts("a.test", {"one.test": 10})
    failed = await scene.fail("a.test", relay_direct=False)
    assert (failed.stage, failed.permanent) == ("connect", False)
    assert "no route for a.test" in failed.reply and "add a route for it" in failed.reply
    assert not scene.dns.asked
    assert await scene.plan("a.test", Route("*"), relay_direct=False)


@pytest.mark.parametrize(
    ("tls", "port", "expected"),
    [
        ("none", 25, Tls.NONE),
        ("opportunistic", 25, Tls.OPPORTUNISTIC),
        ("required", 25, Tls.REQUIRED),
        ("verified", 25, Tls.VERIFIED),
        ("implicit", 465, Tls.IMPLICIT),
    ],
)
async def test_a_route_leads_to_its_host_alone(
    scene: Scene, tls: str, port: int, expected: Tls
) -> None:
    scene.mail_hosts("a.test", {"one.test": 10})
    scene.dns.add("smart.test", "A", "127.0.0.1")  # a route may lead anywhere
    remotes = await scene.plan(
        "a.test", Route("a.test", host="Smart.test", tls=tls), relay_direct=False
    )
    assert remotes == [RemoteHost("smart.test", "127.0.0.1", port, expected, ("smart.test",))]
    (remote,) = await scene.plan("a.test", Route("*", host="smart.test", tls=tls, port=2587))
    assert remote.port == 2587


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "[::1]", "[IPv6:::1]", "[127.0.0.1]"])
async def test_a_route_may_name_an_address(scene: Scene, host: str) -> None:
    (remote,) = await scene.plan("a.test", Route("a.test", host=host, port=2526))
    assert remote.address == ("::1" if ":" in host else "127.0.0.1")
    assert remote.names == (remote.address,)


async def test_a_route_may_name_a_host_of_the_hosts_file(scene: Scene) -> None:
    remotes = await scene.plan("a.test", Route("a.test", host="localhost", port=2526))
    assert "127.0.0.1" in [remote.address for remote in remotes]
    assert not scene.dns.asked


async def test_a_route_to_a_host_that_is_not_found_is_tried_again(scene: Scene) -> None:
    assert (await scene.fail("a.test", Route("a.test", host="gone.invalid"))).status == "4.4.4"
    scene.dns.fail("down.invalid", "A")
    failed = await scene.fail("a.test", Route("a.test", host="down.invalid"))
    assert (failed.status, failed.permanent) == ("4.4.3", False)


async def test_the_login_of_a_route_is_opened(scene: Scene) -> None:
    encrypted = SECRET_BOX.encrypt("pässword".encode(), "route:a.test")
    route = Route("a.test", host="192.0.2.1", tls="verified", username="us", password=encrypted)
    (remote,) = await scene.plan("a.test", route)
    assert remote.login == ("us", "pässword")
    assert "pässword" not in repr(remote)
    strange = Route("b.test", host="192.0.2.1", tls="verified", username="us", password=encrypted)
    failed = await scene.fail("b.test", strange)
    assert (failed.status, failed.permanent) == ("4.3.5", False)
    assert base64.b64encode(encrypted).decode() not in failed.reply


async def test_a_route_without_host_raises_what_the_mx_need(scene: Scene) -> None:
    scene.mail_hosts("a.test", {"one.test": 10})
    remotes = await scene.plan("a.test", Route("a.test", tls="verified", port=2626))
    assert remotes == [RemoteHost("one.test", "192.0.2.1", 2626, Tls.VERIFIED, ("one.test",))]
    scene.shelf.keep("a.test", Mode.ENFORCE, "one.test")
    for tls in ("none", "opportunistic", "required", "verified"):
        (remote,) = await scene.plan("a.test", Route("a.test", tls=tls))
        assert remote.tls is Tls.VERIFIED


async def test_an_enforced_policy_leaves_its_hosts_and_verifies_them(scene: Scene) -> None:
    scene.mail_hosts("a.test", {"evil.example": 5, "one.mx.test": 10, "two.test": 20})
    scene.shelf.keep("a.test", Mode.ENFORCE, "*.mx.test", "two.test")
    assert [(remote.host, remote.tls, remote.names) for remote in await scene.plan("a.test")] == [
        ("one.mx.test", Tls.VERIFIED, ("one.mx.test",)),
        ("two.test", Tls.VERIFIED, ("two.test",)),
    ]
    (first, *_) = await scene.plan("a.test", relay_mta_sts=False)
    assert (first.host, first.tls) == ("evil.example", Tls.OPPORTUNISTIC)


async def test_an_enforced_policy_that_names_no_host_waits(scene: Scene) -> None:
    scene.mail_hosts("a.test", {"evil.example": 5})
    scene.shelf.keep("a.test", Mode.ENFORCE, "one.test")
    failed = await scene.fail("a.test")
    assert (failed.status, failed.permanent) == ("4.7.5", False)
    assert "MTA-STS" in failed.reply


def unnamed(mode: str) -> float:
    labels = {"mode": mode, "result": "validation-failure"}
    return REGISTRY.get_sample_value("posthorn_relay_mta_sts_failures_total", labels) or 0.0


async def test_hosts_that_a_policy_does_not_name_are_counted(scene: Scene) -> None:
    scene.mail_hosts("a.test", {"evil.example": 5, "one.test": 10})
    for mode, left in ((Mode.TESTING, 2), (Mode.ENFORCE, 1)):
        scene.shelf.keep("a.test", mode, "one.test")
        before = unnamed(mode.value)
        assert len(await scene.plan("a.test")) == left
        assert unnamed(mode.value) == before + 1


async def test_hosts_that_a_policy_names_are_held_to_it(scene: Scene) -> None:
    scene.mail_hosts("a.test", {"evil.example": 5, "one.test": 10})
    scene.shelf.keep("a.test", Mode.TESTING, "one.test")
    evil, one = await scene.plan("a.test")
    assert (evil.sts, evil.tls) == (None, Tls.OPPORTUNISTIC)
    assert (one.sts, one.tls) == (StsRequirement("a.test", enforced=False), Tls.OPPORTUNISTIC)
    (none,) = await scene.plan("a.test", Route("a.test", host="192.0.2.9"))
    assert none.sts is None
    scene.shelf.keep("a.test", Mode.ENFORCE, "one.test")
    (one,) = await scene.plan("a.test")
    assert (one.sts, one.tls) == (StsRequirement("a.test", enforced=True), Tls.VERIFIED)


@pytest.mark.parametrize("mode", [Mode.TESTING, Mode.NONE])
async def test_a_policy_that_is_not_enforced_changes_nothing(scene: Scene, mode: Mode) -> None:
    scene.mail_hosts("a.test", {"evil.example": 5})
    scene.shelf.keep("a.test", mode, "one.test")
    assert [(remote.host, remote.tls) for remote in await scene.plan("a.test")] == [
        ("evil.example", Tls.OPPORTUNISTIC)
    ]


async def test_not_knowing_the_policy_is_transient(scene: Scene) -> None:
    scene.mail_hosts("a.test", {"one.test": 5})
    scene.shelf.broken = True
    assert (await scene.fail("a.test")).permanent is False


async def test_dane_is_used_where_everything_is_validated(scene: Scene) -> None:
    scene.mail_hosts("a.test", {"one.test": 10}, secure=True)
    scene.dns.add("_25._tcp.one.test", "TLSA", f"3 1 1 {DIGEST}", f"0 0 1 {DIGEST}", secure=True)
    (remote,) = await scene.plan("a.test", relay_dnssec=True)
    assert (remote.tls, remote.names) == (Tls.DANE, ("one.test", "a.test"))
    assert remote.tlsa == (Tlsa(3, 1, 1, bytes.fromhex(DIGEST)),)
    (remote,) = await scene.plan("a.test")
    assert (remote.tls, remote.tlsa) == (Tls.OPPORTUNISTIC, ())


@pytest.mark.parametrize("insecure", ["mx", "address", "tlsa", "no tlsa"])
async def test_dane_is_not_used_where_a_link_is_not_validated(scene: Scene, insecure: str) -> None:
    scene.dns.add("a.test", "MX", "10 one.test.", secure=insecure != "mx")
    scene.dns.add("one.test", "A", "192.0.2.1", secure=insecure != "address")
    if insecure == "no tlsa":
        scene.dns.exists("_25._tcp.one.test", secure=True)
    else:
        scene.dns.add("_25._tcp.one.test", "TLSA", f"3 1 1 {DIGEST}", secure=insecure != "tlsa")
    (remote,) = await scene.plan("a.test", relay_dnssec=True)
    assert remote.tls is Tls.OPPORTUNISTIC


async def test_tlsa_answers_without_the_ad_bit_are_as_good_as_none(scene: Scene) -> None:
    """A forged record could close the host, or have mail go to whoever forged it: only what was
    validated counts."""
    scene.mail_hosts("a.test", {"one.test": 10}, secure=True)
    for records in ((f"3 1 1 {DIGEST}",), (f"1 1 1 {DIGEST}",), ()):
        if records:
            scene.dns.add("_25._tcp.one.test", "TLSA", *records)
        else:
            scene.dns.remove("_25._tcp.one.test", "TLSA")
        (remote,) = await scene.plan("a.test", relay_dnssec=True)
        assert (remote.tls, remote.tlsa) == (Tls.OPPORTUNISTIC, ())
        scene.shelf.keep("a.test", Mode.ENFORCE, "one.test")
        (remote,) = await scene.plan("a.test", relay_dnssec=True)
        assert (remote.tls, remote.tlsa) == (Tls.VERIFIED, ())
        scene.shelf.kept.clear()
    scene.dns.add("_25._tcp.one.test", "TLSA", f"3 1 1 {DIGEST}", secure=True)
    (remote,) = await scene.plan("a.test", relay_dnssec=True)
    assert remote.tls is Tls.DANE


async def test_records_of_which_none_is_usable_still_demand_tls(scene: Scene) -> None:
    scene.mail_hosts("a.test", {"one.test": 10}, secure=True)
    scene.dns.add("_25._tcp.one.test", "TLSA", f"1 1 1 {DIGEST}", f"3 9 1 {DIGEST}", secure=True)
    (remote,) = await scene.plan("a.test", relay_dnssec=True)
    assert (remote.tls, remote.tlsa) == (Tls.REQUIRED, ())


def test_records_that_no_certificate_can_match_are_unusable() -> None:
    good = [
        Tlsa(3, 1, 1, b"x" * 32),
        Tlsa(2, 0, 2, b"x" * 64),
        Tlsa(2, 0, 0, b"x"),
        Tlsa(3, 0, 0, b"x"),
    ]
    bad = [
        Tlsa(0, 1, 1, b"x" * 32),
        Tlsa(3, 2, 1, b"x" * 32),
        Tlsa(3, 1, 3, b"x" * 32),
        Tlsa(3, 1, 1, b"x" * 31),
    ]
    assert usable_records([*bad, *good, Tlsa(3, 1, 0, b"")]) == tuple(good)


async def test_a_record_that_does_not_read_closes_the_host(scene: Scene) -> None:
    scene.mail_hosts("a.test", {"one.test": 10}, secure=True)
    scene.patience = 1.0
    scene.dns.babble("_25._tcp.one.test", "TLSA")
    assert (await scene.fail("a.test", relay_dnssec=True)).permanent is False


async def test_a_host_whose_tlsa_cannot_be_had_is_not_used(scene: Scene) -> None:
    scene.mail_hosts("a.test", {"one.test": 10, "two.test": 20}, secure=True)
    scene.dns.fail("_25._tcp.one.test", "TLSA")
    scene.dns.exists("_25._tcp.two.test", secure=True)
    assert places(await scene.plan("a.test", relay_dnssec=True)) == [("two.test", "192.0.2.2")]
    scene.patience = 1.0
    scene.dns.silence("_25._tcp.two.test", "TLSA")
    failed = await scene.fail("a.test", relay_dnssec=True)
    assert (failed.status, failed.permanent) == ("4.4.3", False)


async def test_without_policies_neither_mta_sts_nor_dane_counts_and_a_route_does(
    scene: Scene,
) -> None:
    scene.mail_hosts("a.test", {"evil.example": 5, "one.test": 10}, secure=True)
    scene.dns.add("_25._tcp.one.test", "TLSA", f"3 1 1 {DIGEST}", secure=True)
    scene.dns.fail("_25._tcp.evil.example", "TLSA")
    scene.shelf.keep("a.test", Mode.ENFORCE, "two.test")
    remotes = await scene.plan("a.test", relay_dnssec=True, without_policies=True)
    assert [(remote.host, remote.tls, remote.sts) for remote in remotes] == [
        ("evil.example", Tls.OPPORTUNISTIC, None),
        ("one.test", Tls.OPPORTUNISTIC, None),
    ]
    scene.shelf.broken = True
    remotes = await scene.plan("a.test", Route("a.test", tls="verified"), without_policies=True)
    assert {remote.tls for remote in remotes} == {Tls.VERIFIED}


async def test_dane_stands_in_for_mta_sts(scene: Scene) -> None:
    scene.mail_hosts("a.test", {"one.test": 10, "two.test": 20}, secure=True)
    scene.dns.add("_25._tcp.one.test", "TLSA", f"3 1 1 {DIGEST}", secure=True)
    scene.dns.exists("_25._tcp.two.test", secure=True)
    scene.shelf.keep("a.test", Mode.ENFORCE, "one.test", "two.test")
    remotes = await scene.plan("a.test", relay_dnssec=True)
    assert [(remote.host, remote.tls) for remote in remotes] == [
        ("one.test", Tls.DANE),
        ("two.test", Tls.VERIFIED),
    ]
