"""MTA-STS policies, from the TXT record over HTTPS to the store (RFC 8461 §3, §5, §10)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr

from posthorn.adapters.dns import DnsResolver
from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.queue.mta_sts import PostgresPolicies
from posthorn.ports.errors import Unavailable
from posthorn.ports.mta_sts import PolicyStore, StoredPolicy
from posthorn.wire.mta_sts import Mode
from posthorn_relay.routing import mta_sts_fetch
from posthorn_relay.routing.mta_sts import PolicyUnknown, StsPolicies
from posthorn_relay.routing.mta_sts_fetch import FetchFailed, PolicyFetcher
from posthorn_relay.settings import EgressSettings
from tests.support.clock import Clock
from tests.support.databases import as_part, pool
from tests.support.dns import DnsServer
from tests.support.policy_host import PolicyHost
from tests.support.polling import BUSY_SECONDS
from tests.support.scripted_smtp import Authority, Socks5

DOMAIN = "a.test"
HOST = f"mta-sts.{DOMAIN}"
POLICY = b"version: STSv1\nmode: enforce\nmx: mx.a.test\nmax_age: 86400\n"
OTHER = POLICY.replace(b"enforce", b"testing")


class Scene:
    """A domain with a record and a policy host, and a relay's policies."""

    def __init__(
        self, dns: DnsServer, web: PolicyHost, trust: ssl.SSLContext, store: PolicyStore
    ) -> None:
        self.dns = dns
        self.web = web
        self.trust = trust
        self.store = store
        self.clock = Clock(1_800_000_000.0)
        self.policies = self.relay()

    def fetcher(self, **settings: Any) -> PolicyFetcher:
        return PolicyFetcher(
            EgressSettings(relay_loopback=True, **settings),
            DnsResolver([self.dns.address], lifetime=BUSY_SECONDS),
            trust=self.trust,
            port=self.web.port,
        )

    def relay(self) -> StsPolicies:
        """A relay that remembers nothing."""
        resolver = DnsResolver([self.dns.address], lifetime=BUSY_SECONDS)
        return StsPolicies(resolver, self.fetcher(), self.store, self.clock)

    def record(self, identifier: str) -> None:
        self.dns.add(f"_mta-sts.{DOMAIN}", "TXT", f'"v=STSv1; id={identifier};"', ttl=0)

    async def mode(self) -> Mode | None:
        policy = await self.policies.policy(DOMAIN)
        return None if policy is None else policy.mode


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with pool(as_part(database_url, "relay")) as opened:
        yield opened


@pytest.fixture
async def scene(authority: Authority, database: Database) -> AsyncIterator[Scene]:
    async with DnsServer() as dns, PolicyHost(authority.issue(HOST)[0]) as web:
        dns.add(HOST, "A", "127.0.0.1")
        web.publish(POLICY)
        made = Scene(dns, web, authority.trust(), PostgresPolicies(database))
        made.record("1")
        yield made


async def test_a_policy_is_fetched_once_and_kept(scene: Scene) -> None:
    for _ in range(3):
        assert await scene.mode() is Mode.ENFORCE
    (request,) = scene.web.requests
    assert request.startswith(b"GET /.well-known/mta-sts.txt HTTP/1.1\r\n")
    assert b"\r\nHost: mta-sts.a.test\r\n" in request
    scene.policies = scene.relay()
    assert await scene.mode() is Mode.ENFORCE
    assert len(scene.web.requests) == 1


async def test_who_asks_at_once_shares_a_fetch(scene: Scene) -> None:
    found = await asyncio.gather(*(scene.mode() for _ in range(30)))
    assert set(found) == {Mode.ENFORCE}
    assert len(scene.web.requests) == 1


async def test_a_domain_without_a_record_has_no_policy(scene: Scene) -> None:
    scene.dns.remove(f"_mta-sts.{DOMAIN}", "TXT")
    assert await scene.mode() is None
    assert not scene.web.requests


async def test_another_id_leads_to_another_fetch(scene: Scene) -> None:
    await scene.mode()
    scene.web.publish(OTHER)
    assert await scene.mode() is Mode.ENFORCE
    scene.record("2")
    assert await scene.mode() is Mode.TESTING
    assert len(scene.web.requests) == 2
    stored = await scene.store.load(DOMAIN)
    assert stored is not None and (stored.policy_id, stored.mode) == ("2", Mode.TESTING)


async def test_what_another_relay_fetched_is_taken_from_the_store(scene: Scene) -> None:
    await scene.mode()
    neighbour = scene.relay()
    scene.clock.now += 1
    scene.web.publish(OTHER)
    scene.record("2")
    await neighbour.policy(DOMAIN)
    assert await scene.mode() is Mode.TESTING
    assert len(scene.web.requests) == 2


@pytest.mark.parametrize("fate", ["record gone", "dns down", "web down", "id changed and web down"])
async def test_a_policy_holds_until_it_expires_whatever_happens(scene: Scene, fate: str) -> None:
    await scene.mode()
    if fate == "record gone":
        scene.dns.remove(f"_mta-sts.{DOMAIN}", "TXT")
    elif fate == "dns down":
        scene.dns.fail(f"_mta-sts.{DOMAIN}", "TXT")
    else:
        scene.web.publish(b"", status="500 Trouble")
    if fate.startswith("id"):
        scene.record("2")
    assert await scene.mode() is Mode.ENFORCE
    scene.clock.now += 86_399
    assert await scene.mode() is Mode.ENFORCE
    scene.policies = scene.relay()
    assert await scene.mode() is Mode.ENFORCE
    scene.clock.now += 2
    assert await scene.mode() is None


async def test_a_policy_is_renewed_well_before_it_expires(scene: Scene) -> None:
    await scene.mode()
    scene.clock.now += 43_200
    assert await scene.mode() is Mode.ENFORCE
    assert len(scene.web.requests) == 2
    scene.clock.now += 43_201
    assert await scene.mode() is Mode.ENFORCE


async def test_a_failed_fetch_is_not_repeated_at_once(scene: Scene) -> None:
    scene.web.publish(b"", status="404 Not Found")
    assert await scene.mode() is None
    assert await scene.mode() is None
    assert len(scene.web.requests) == 1
    scene.clock.now += 299
    scene.web.publish(POLICY)
    assert await scene.mode() is None
    scene.clock.now += 2
    assert await scene.mode() is Mode.ENFORCE


async def test_a_policy_that_expires_at_once_is_not_fetched_at_every_message(scene: Scene) -> None:
    scene.web.publish(POLICY.replace(b"86400", b"0"))
    for _ in range(3):
        assert await scene.mode() is Mode.ENFORCE
    assert len(scene.web.requests) == 1
    scene.dns.remove(f"_mta-sts.{DOMAIN}", "TXT")
    scene.clock.now += 301
    assert await scene.mode() is None


async def test_giving_up_is_published_as_a_policy(scene: Scene) -> None:
    await scene.mode()
    scene.web.publish(b"version: STSv1\nmode: none\nmax_age: 86400\n")
    scene.record("2")
    assert await scene.mode() is Mode.NONE


class Broken:
    """A store that does not answer: Postgres going away amid a plan cannot be had otherwise."""

    async def load(self, domain: str) -> StoredPolicy | None:
        raise Unavailable("postgres", "away")

    async def save(self, domain: str, stored: StoredPolicy) -> None:
        raise Unavailable("postgres", "away")


async def test_without_a_store_only_a_live_policy_is_an_answer(scene: Scene) -> None:
    scene.store = Broken()
    scene.policies = scene.relay()
    assert await scene.mode() is Mode.ENFORCE
    assert await scene.mode() is Mode.ENFORCE
    scene.policies = scene.relay()
    scene.web.publish(b"", status="500 Trouble")
    with pytest.raises(PolicyUnknown):
        await scene.mode()


async def test_a_later_fetch_is_never_overwritten_by_an_earlier_one(database: Database) -> None:
    store = PostgresPolicies(database)
    later = StoredPolicy("2", Mode.TESTING, ("*.a.test", "b.test"), 2000.0, 9000.5)
    await store.save(DOMAIN, later)
    await store.save(DOMAIN, StoredPolicy("1", Mode.ENFORCE, ("a.test",), 1000.0, 8000.0))
    assert await store.load(DOMAIN) == later
    assert await store.load("other.test") is None


async def test_a_fault_of_the_store_is_transient(database: Database, database_url: str) -> None:
    admin = await asyncpg.connect(database_url)
    await admin.execute("DROP TABLE mta_sts_policies")
    await admin.close()
    with pytest.raises(Unavailable):
        await PostgresPolicies(database).load(DOMAIN)


@pytest.mark.parametrize(
    ("status", "headers", "body", "reason"),
    [
        ("404 Not Found", "Content-Type: text/plain", POLICY, "status 404"),
        (
            "301 Moved",
            f"Content-Type: text/plain\r\nLocation: https://{HOST}/x",
            POLICY,
            "status 301",
        ),
        ("204 Empty", "Content-Type: text/plain", b"", "status 204"),
        ("200 OK", "Content-Type: text/html", POLICY, "text/plain"),
        ("200 OK", "X-Nothing: 1", POLICY, "text/plain"),
        ("200 OK", "Content-Type: text/plain\r\nContent-Encoding: gzip", POLICY, "encoded"),
        ("200 OK", "Content-Type: text/plain", b"x" * 70_000, "longer"),
        ("200 OK", "Content-Type: text/plain", b"mode: enforce", "version"),
    ],
)
async def test_answers_that_are_no_policy_are_refused(
    scene: Scene, status: str, headers: str, body: bytes, reason: str
) -> None:
    scene.web.publish(body, status=status, headers=headers)
    with pytest.raises(FetchFailed, match=reason):
        await scene.fetcher().fetch(DOMAIN)
    assert len(scene.web.requests) == 1


@pytest.mark.parametrize(
    "type_", ["text/plain; charset=utf-8", "Text/Plain", "text/plain ;charset=us-ascii"]
)
async def test_parameters_of_the_type_do_not_matter(scene: Scene, type_: str) -> None:
    scene.web.publish(POLICY, headers=f"Content-Type: {type_}")
    assert (await scene.fetcher().fetch(DOMAIN)).mode is Mode.ENFORCE


async def test_an_answer_that_is_no_http_is_refused(scene: Scene) -> None:
    scene.web.answer = b"220 mail.a.test ESMTP\r\n\r\n"
    with pytest.raises(FetchFailed):
        await scene.fetcher().fetch(DOMAIN)


async def test_an_answer_that_does_not_come_is_not_waited_for(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mta_sts_fetch, "_SECONDS", 0.2)
    scene.web.answer = None
    with pytest.raises(FetchFailed, match="in time"):
        await scene.fetcher().fetch(DOMAIN)


@pytest.mark.parametrize(
    ("names", "expired"),
    [(["a.test"], False), (["mta-sts.b.test"], False), (["*.test"], False), ([HOST], True)],
)
async def test_a_certificate_that_does_not_verify_is_refused(
    scene: Scene, authority: Authority, names: list[str], expired: bool
) -> None:
    async with PolicyHost(authority.issue(*names, expired=expired)[0]) as web:
        web.publish(POLICY)
        scene.web = web
        with pytest.raises(FetchFailed):
            await scene.fetcher().fetch(DOMAIN)
        assert not web.requests


async def test_a_certificate_of_a_stranger_is_refused(scene: Scene) -> None:
    scene.trust = ssl.create_default_context()
    with pytest.raises(FetchFailed):
        await scene.fetcher().fetch(DOMAIN)


async def test_a_policy_host_at_a_loopback_address_is_not_asked(scene: Scene) -> None:
    resolver = DnsResolver([scene.dns.address], lifetime=BUSY_SECONDS)
    fetcher = PolicyFetcher(EgressSettings(), resolver, trust=scene.trust, port=scene.web.port)
    with pytest.raises(FetchFailed, match="no address"):
        await fetcher.fetch(DOMAIN)


async def test_the_next_address_is_tried_when_one_refuses(scene: Scene) -> None:
    scene.dns.add(HOST, "AAAA", "::1")
    scene.dns.add(HOST, "A", "127.0.0.1", "127.0.0.3")
    assert (await scene.fetcher().fetch(DOMAIN)).mode is Mode.ENFORCE


async def test_a_policy_host_without_address_or_answer_is_no_policy(scene: Scene) -> None:
    scene.dns.remove(HOST, "A")
    with pytest.raises(FetchFailed, match="no address"):
        await scene.fetcher().fetch(DOMAIN)
    scene.dns.fail(HOST, "AAAA")
    with pytest.raises(FetchFailed):
        await scene.fetcher().fetch(DOMAIN)


async def test_a_policy_is_fetched_by_the_proxy(scene: Scene) -> None:
    async with Socks5(login=("relay", "s3cret")) as proxy:
        through = SecretStr(f"socks5://relay:s3cret@127.0.0.1:{proxy.port}")
        assert (await scene.fetcher(relay_proxy=through).fetch(DOMAIN)).mode is Mode.ENFORCE
        assert proxy.asked == [("127.0.0.1", scene.web.port)]
        proxy.login = ("relay", "changed")
        with pytest.raises(FetchFailed) as caught:
            await scene.fetcher(relay_proxy=through).fetch(DOMAIN)
        assert "s3cret" not in str(caught.value)
