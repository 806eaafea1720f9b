"""The stub resolver against a scripted name server: kept answers, faults, and servers away."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import dns.rcode
import dns.rdatatype
import pytest
from structlog.testing import capture_logs

from posthorn.adapters.dns_stub import StubLookup
from posthorn.wire.auth.lookup import DnsUnavailable
from tests.support.dns import DnsServer
from tests.support.polling import BUSY_SECONDS, LONG_SECONDS, repeated_when_late


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    async with DnsServer() as running:
        yield running


def looking(server: DnsServer, **bounds: Any) -> StubLookup:
    return StubLookup([server.address], **{"deadline_seconds": BUSY_SECONDS, **bounds})


async def test_records_absence_and_what_cannot_be_asked(server: DnsServer) -> None:
    server.add("a.test", "TXT", '"v=spf1 " "-all"', '"other"')
    server.add("a.test", "A", "192.0.2.1", "192.0.2.2")
    server.add("a.test", "AAAA", "2001:db8::1")
    server.add("a.test", "MX", "20 Far.test.", "10 near.test.")
    server.add("1.2.0.192.in-addr.arpa", "PTR", "Mail.A.test.")
    server.add("alias.test", "CNAME", "a.test.")
    async with looking(server) as lookup:
        assert set(await lookup.texts("A.test.") or ()) == {b"v=spf1 -all", b"other"}
        found = await lookup.addresses("a.test", v6=False)
        assert sorted(found or ()) == ["192.0.2.1", "192.0.2.2"]
        assert await lookup.addresses("alias.test", v6=True) == ("2001:db8::1",)
        assert await lookup.exchangers("a.test") == [(10, "near.test"), (20, "far.test")]
        assert await lookup.names("192.0.2.1") == ("mail.a.test",)
        assert await lookup.texts("nobody.test") is None
        assert await lookup.exchangers("alias.test") == [(10, "near.test"), (20, "far.test")]
        assert await lookup.texts("x" * 64 + ".test") is None
        assert await lookup.texts("a..test") is None
        server.exists("bare.test")
        assert await lookup.texts("bare.test") == ()


async def test_that_a_resolver_refuses_everything_is_said_once_and_its_end_once(
    server: DnsServer,
) -> None:
    names = [f"{label}.d{number}.test" for number in range(6) for label in ("a", "b")]
    for name in names:
        server.fail(name, "TXT")
    server.add("fine.test", "TXT", "x")
    async with looking(server) as lookup:
        with capture_logs() as lines:
            for name in [f"n{number}.broken.test" for number in range(9)]:
                server.fail(name, "TXT")
                with pytest.raises(DnsUnavailable):  # one zone alone
                    await lookup.texts(name)
            assert lines == []
            for name in names:
                with pytest.raises(DnsUnavailable):
                    await lookup.texts(name)
            await lookup.texts("fine.test")
            await lookup.texts("nobody.test")
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("no name can be looked up", "error"),
        ("names are looked up again", "info"),
    ]
    assert lines[0]["detail"] == "the name server answers SERVFAIL"


async def test_answers_are_kept_and_equal_questions_are_one(server: DnsServer) -> None:
    server.add("a.test", "TXT", "x")
    async with looking(server) as lookup:
        await asyncio.gather(*(lookup.texts("a.test") for _ in range(20)))
        await lookup.texts("a.test")
        assert server.asked["a.test", "TXT"] == 1
        await lookup.texts("nobody.test")
        await lookup.texts("nobody.test")
        assert server.asked["nobody.test", "TXT"] == 1


async def test_a_cache_is_bounded_by_entries_and_bytes(server: DnsServer) -> None:
    for place in range(6):
        server.add(f"a{place}.test", "TXT", '"' + "x" * 200 + '" ' * 1)
    for bounds in ({"cache_entries": 2}, {"cache_bytes": 1500}):
        server.asked.clear()
        async with looking(server, **bounds) as lookup:
            for place in range(6):
                await lookup.texts(f"a{place}.test")
            await lookup.texts("a5.test")
            assert server.asked["a5.test", "TXT"] == 1
            await lookup.texts("a0.test")
            assert server.asked["a0.test", "TXT"] == 2


async def test_a_cut_answer_is_asked_for_over_tcp(server: DnsServer) -> None:
    server.add("a.test", "TXT", "x")
    server.cut("a.test", "TXT")
    server.add("large.test", "TXT", *(f'"{place}{"y" * 200}"' for place in range(30)))
    async with looking(server) as lookup:
        assert await lookup.texts("a.test") == (b"x",)
        assert len(await lookup.texts("large.test") or ()) == 30
    assert server.by_tcp == 2


async def test_a_failure_is_no_answer_and_is_kept_for_a_while(
    server: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = 0.0
    later = SimpleNamespace(monotonic=lambda: time.monotonic() + ahead)
    monkeypatch.setattr("posthorn.adapters.dns_stub.time", later)
    server.fail("a.test", "TXT")
    async with looking(server, failure_seconds=LONG_SECONDS) as lookup:
        for _ in range(3):
            with pytest.raises(DnsUnavailable, match="SERVFAIL"):
                await lookup.texts("a.test")
        assert server.asked["a.test", "TXT"] == 1
        server.fail("a.test", "TXT", None)
        server.add("a.test", "TXT", "x")
        ahead = LONG_SECONDS
        assert await lookup.texts("a.test") == (b"x",)


async def test_another_server_answers_for_one_that_fails_or_is_silent(server: DnsServer) -> None:
    server.add("a.test", "TXT", "x")
    server.add("b.test", "TXT", "y")
    async with DnsServer() as bad:
        bad.fail("a.test", "TXT", dns.rcode.REFUSED)
        bad.silence("b.test", "TXT")
        async with StubLookup([bad.address, server.address], deadline_seconds=4.0) as lookup:
            assert await lookup.texts("a.test") == (b"x",)
            assert await lookup.texts("b.test") == (b"y",)
            assert not bad.asked["b.test", "TXT"], "the one that answered is asked first"


@repeated_when_late(0.5)
async def test_a_lost_packet_costs_a_part_of_the_deadline(server: DnsServer) -> None:
    server.add("a.test", "TXT", "x")
    server.silence("a.test", "TXT", times=1)
    async with StubLookup([server.address], deadline_seconds=4.0) as lookup:
        assert await lookup.texts("a.test") == (b"x",)


async def test_answers_to_other_questions_do_not_count(server: DnsServer) -> None:
    server.add("a.test", "TXT", "x")
    server.babble("a.test", "TXT")
    async with StubLookup([server.address], deadline_seconds=0.2) as lookup:
        with pytest.raises(DnsUnavailable, match="in time"):
            await lookup.texts("a.test")


@repeated_when_late(0.5)
async def test_servers_away_cost_no_deadline_and_are_found_when_back() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        async with StubLookup(
            [address], deadline_seconds=0.1, patience=3, away_seconds=60
        ) as lookup:
            results = await asyncio.gather(
                *(lookup.texts(f"a{place}.test") for place in range(3)), return_exceptions=True
            )
            assert all(isinstance(each, DnsUnavailable) for each in results)
            assert lookup.is_away
            began = time.monotonic()
            for place in range(1000):
                with pytest.raises(DnsUnavailable, match="no name server answers"):
                    await lookup.texts(f"b{place}.test")
            assert time.monotonic() - began < 60, "none of them waits for the deadline"
    async with DnsServer() as server:
        server.add("c.test", "TXT", "x")
        server.silence("a.test", "TXT", times=2)
        async with StubLookup(
            [server.address], deadline_seconds=2.0, patience=1, away_seconds=0.1
        ) as lookup:
            with pytest.raises(DnsUnavailable):
                await lookup.texts("a.test")
            assert lookup.is_away
            await asyncio.sleep(0.15)
            assert await lookup.texts("c.test") == (b"x",)
            assert not lookup.is_away


class OneLink(DnsServer):
    """Answers with an alias alone, and leaves the rest to the client."""

    def _fill(self, response: Any, name: Any, kind: Any, *, validated: bool) -> None:
        alias = self._records.get((name, dns.rdatatype.CNAME))
        if alias is None:
            super()._fill(response, name, kind, validated=validated)
        else:
            response.answer.append(alias)


async def test_aliases_that_a_server_does_not_follow() -> None:
    async with OneLink() as server:
        server.add("a.test", "CNAME", "b.test.")
        server.add("b.test", "CNAME", "c.test.")
        server.add("c.test", "TXT", "x")
        server.add("loop.test", "CNAME", "pool.test.")
        server.add("pool.test", "CNAME", "loop.test.")
        async with looking(server) as lookup:
            assert await lookup.texts("a.test") == (b"x",)
            with pytest.raises(DnsUnavailable, match="aliases"):
                await lookup.texts("loop.test")


async def test_too_many_questions_at_a_time_fail_at_once(server: DnsServer) -> None:
    for place in range(4):
        server.silence(f"a{place}.test", "TXT")
    async with StubLookup([server.address], deadline_seconds=0.5, most_questions=3) as lookup:
        results = await asyncio.gather(
            *(lookup.texts(f"a{place}.test") for place in range(4)), return_exceptions=True
        )
        assert [str(each) for each in results].count("too many DNS questions at a time") == 1


async def test_sockets_are_replaced_and_questions_outlive_their_callers(
    server: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("posthorn.adapters.dns_exchange._QUESTIONS_PER_SOCKET", 2)
    async with looking(server) as lookup:
        for place in range(40):
            server.add(f"a{place}.test", "A", "192.0.2.1")
            assert await lookup.addresses(f"a{place}.test", v6=False) == ("192.0.2.1",)
        server.add("slow.test", "A", "192.0.2.1")
        task = asyncio.create_task(lookup.addresses("slow.test", v6=False))
        await asyncio.sleep(0)
        task.cancel()
        assert await lookup.addresses("slow.test", v6=False) == ("192.0.2.1",)
        assert server.asked["slow.test", "A"] == 1
