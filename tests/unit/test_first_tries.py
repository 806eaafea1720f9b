"""A store that does not answer delays no mail."""

from __future__ import annotations

from posthorn.model.verdict import Verdict
from posthorn.ports.errors import Unavailable
from posthorn.ports.scan import MessageQuestion
from posthorn.wire.auth.results import Authentication, Dmarc, Outcome, Policy
from posthorn_scan.first_tries import FirstTries, is_unchecked


class _Away:
    async def first_seen(self, key: str, now: float, seconds: float) -> float:
        raise Unavailable("nats", "away")

    async def known(self, key: str, since: float, seconds: float) -> None:
        raise AssertionError


async def test_without_the_store_nobody_is_asked_to_come_again() -> None:
    dmarc = Dmarc(Outcome.TEMPERROR, "bank.example", published=Policy.REJECT)
    verdict = Verdict(1.0, Authentication(dmarc=dmarc))
    question = MessageQuestion("", "192.0.2.1", "", "", (), 1.0, "mx.example.test")
    assert is_unchecked(verdict)
    assert not await FirstTries(_Away()).is_one(question, verdict, b"\r\n")
