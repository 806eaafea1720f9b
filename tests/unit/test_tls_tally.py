"""What is counted of sessions with other hosts, for TLS reports (RFC 8460)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from structlog.testing import capture_logs

from posthorn.ports.errors import Unavailable
from posthorn.ports.reports import TlsOutcome
from posthorn.runtime.tasks import cancel_and_wait
from posthorn_relay import tls_tally
from posthorn_relay.smtp.types import RemoteHost, StsRequirement, Tls, TlsResult
from posthorn_relay.tls_tally import TlsTally


class _Store:
    def __init__(self) -> None:
        self.counts: dict[TlsOutcome, int] = {}
        self.is_away = False
        self.writes = 0

    async def add(self, counts: Mapping[TlsOutcome, int]) -> None:
        if self.is_away:
            raise Unavailable("postgres", "away")
        self.counts.update(counts)
        self.writes += 1


def _remote(tls: Tls = Tls.OPPORTUNISTIC, sts: StsRequirement | None = None) -> RemoteHost:
    return RemoteHost("mx.far.test", "192.0.2.1", tls=tls, sts=sts)


async def test_outcomes_by_policy_and_result() -> None:
    tally, store = TlsTally(), _Store()
    testing = _remote(sts=StsRequirement("far.test", enforced=False))
    enforced = _remote(Tls.VERIFIED, StsRequirement("far.test", enforced=True))
    tally.connected("far.test", _remote(), "TLSv1.3 AES unverified")
    tally.connected("far.test", _remote(), "")
    tally.connected("far.test", _remote(Tls.DANE), "TLSv1.3 AES dane")
    tally.connected("far.test", enforced, "TLSv1.3 AES verified")
    tally.connected("far.test", testing, "TLSv1.3 AES unverified")
    tally.failed("far.test", enforced, TlsResult.EXPIRED)
    tally.failed("far.test", enforced, TlsResult.EXPIRED)
    tally.connected("[192.0.2.1]", _remote(), "")  # no domain: nobody to report to
    await tally.flush(store)
    assert {(each.policy_type, each.result_type): n for each, n in store.counts.items()} == {
        ("no-policy-found", ""): 1,
        ("no-policy-found", "starttls-not-supported"): 1,
        ("tlsa", ""): 1,
        ("sts", ""): 1,
        ("sts", "validation-failure"): 1,
        ("sts", "certificate-expired"): 2,
    }


async def test_what_cannot_be_written_is_kept_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_tally, "MOST_COUNTS", 2)
    tally, store = TlsTally(), _Store()
    store.is_away = True
    for name in ("a.test", "b.test", "c.test", "a.test"):
        tally.connected(name, _remote(), "")
    with pytest.raises(Unavailable):
        await tally.flush(store)
    tally.connected("a.test", _remote(), "")
    store.is_away = False
    await tally.flush(store)
    assert {each.domain: n for each, n in store.counts.items()} == {"a.test": 3, "b.test": 1}


async def test_more_than_one_statement_holds_is_written_in_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tls_tally, "AT_ONCE", 2)
    tally, store = TlsTally(), _Store()
    for name in ("a.test", "b.test", "c.test", "b.test"):
        tally.connected(name, _remote(), "")
    await tally.flush(store)
    assert {each.domain: n for each, n in store.counts.items()} == {
        "a.test": 1,
        "b.test": 2,
        "c.test": 1,
    }
    assert store.writes == 2
    await tally.flush(store)
    assert store.writes == 2


async def test_an_outage_is_said_once_and_its_end_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_tally, "FLUSH_SECONDS", 0.0)
    tally, store = TlsTally(), _Store()
    store.is_away = True
    tally.connected("a.test", _remote(), "")
    with capture_logs() as lines:
        writing = asyncio.create_task(tally.run(store))
        for _ in range(10):
            await asyncio.sleep(0)
        store.is_away = False
        while not store.writes:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        await cancel_and_wait(writing)
    assert [line["event"] for line in lines] == [
        "tls outcomes wait to be recorded",
        "tls outcomes are recorded again",
    ]


async def test_at_the_end_it_is_tried_until_the_time_is_over() -> None:
    tally, store = TlsTally(), _Store()
    store.is_away = True
    tally.connected("a.test", _remote(), "")
    with capture_logs() as lines:
        await tally.close(store, 0.01)
    assert [(line["event"], line["sessions"]) for line in lines] == [("tls outcomes are lost", 1)]
    closing = asyncio.create_task(tally.close(store, 60))
    await asyncio.sleep(0)
    store.is_away = False
    await closing
    assert store.counts
