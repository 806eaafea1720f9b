"""What is counted of sessions with other hosts, for TLS reports (RFC 8460)."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from posthorn.ports.errors import Unavailable
from posthorn.ports.reports import TlsOutcome
from posthorn_relay import tls_tally
from posthorn_relay.smtp.types import RemoteHost, StsRequirement, Tls, TlsResult
from posthorn_relay.tls_tally import TlsTally


class _Store:
    def __init__(self) -> None:
        self.counts: dict[TlsOutcome, int] = {}
        self.is_away = False

    async def add(self, counts: Mapping[TlsOutcome, int]) -> None:
        if self.is_away:
            raise Unavailable("postgres", "away")
        self.counts = dict(counts)


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
