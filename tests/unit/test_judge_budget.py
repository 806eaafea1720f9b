"""No message costs the scanning tier more than its budget, whatever its header and body are: checks
of signatures, the author, facts and rules together."""

from __future__ import annotations

import base64

import pytest

from posthorn.adapters.signature_check import CryptographySignatureCheck
from posthorn.ports.scan import MessageQuestion, SenderFacts, SenderQuestion
from posthorn.runtime.blocklists import Blocklists
from posthorn.wire.auth.results import Iprev, Outcome, Spf
from posthorn.wire.spam.facts import BUDGET_SECONDS
from posthorn_scan.judge import Judge
from posthorn_scan.sender import SenderChecks
from tests.support.cpu_cost import cost_of
from tests.support.signing import record, rsa_key
from tests.support.zone_lookup import ZoneLookup

_MIB = 1024**2
_KEY = ("TXT", record(rsa_key(2048)).decode())
ZONE = {"s._domainkey.x.test": [_KEY], "_dmarc.x.test": [("TXT", "v=DMARC1; p=reject")]}
FACTS = SenderFacts(Iprev(Outcome.PASS, "x.test"), (Spf(Outcome.PASS, "mailfrom", "x.test"),))
BASE = (
    b"From: a@x.test\r\nTo: b@y.test\r\nSubject: x\r\nMessage-ID: <1@x.test>\r\n"
    b"Date: Sun, 29 Nov 2026 10:00:00 +0000\r\n"
)
_NAMES = ":".join(["from", *["x"] * 498])
_HASH = base64.b64encode(bytes(32)).decode()


def _signature(form: str) -> str:
    return f"a=rsa-sha256; c={form}; d=x.test; s=s; h={_NAMES}; bh={_HASH}; b={'A' * 340}\r\n"


def _signed() -> bytes:
    """As many signatures and sets of ARC as are judged, over as many fields as they may name."""
    forms = ["relaxed/relaxed", "simple/simple", "relaxed/simple", "simple/relaxed"] * 2
    fields = [f"DKIM-Signature: v=1; {_signature(form)}" for form in forms]
    for number in range(1, 51):
        validation = "none" if number == 1 else "pass"
        fields += [
            f"ARC-Seal: i={number}; a=rsa-sha256; cv={validation}; d=x.test; s=s; b={'A' * 340}\r\n",
            f"ARC-Message-Signature: i={number}; {_signature('relaxed/relaxed')}",
            f"ARC-Authentication-Results: i={number}; x.test; dmarc=pass\r\n",
        ]
    return "".join(fields).encode() + (b"X: " + b" a \t" * 100 + b"\r\n") * 1000 + BASE


MESSAGES = {
    "signatures": _signed(),
    "authors": b"From: " + b"<a@x.test>," * 90_000 + b"\r\n" + BASE,
    "comments": b"From: " + b"(" * 900_000 + b"\r\n" + BASE,
    "encoded words": b"From: " + b"=?utf-8?q?=41?= " * 60_000 + b"<a@x.test>\r\n" + BASE,
    "subject": b"Subject: " + b"=?iso-2022-jp?b?GyRC?= " * 40_000 + b"\r\n" + BASE,
    "fields": b"X:\r\n" * 240_000 + BASE,
    "From fields": b"From: a@x.test\r\n" * 60_000 + BASE,
    "folds": b"From:" + b"\r\n " * 300_000 + b"a@x.test\r\n" + BASE,
    "recipients": BASE + b"To: " + b'"a\\"b" <c@d.test>, ' * 50_000 + b"\r\n",
    "id": BASE.replace(b"<1@x.test>", b"<" + b"a." * 450_000 + b">"),
    "date": BASE.replace(b"Sun,", b"(" * 900_000),
}


class _Known(SenderChecks):
    def __init__(self) -> None:
        pass

    async def facts(self, question: SenderQuestion) -> SenderFacts:
        return FACTS


@pytest.mark.parametrize("kind", MESSAGES)
async def test_no_message_costs_the_tier_more_than_the_budget(kind: str) -> None:
    lookup = ZoneLookup(ZONE)
    lists = Blocklists(lookup, [], deadline_seconds=60)
    judge = Judge(lookup, CryptographySignatureCheck(), lists, _Known(), [], seconds=60)
    body = b"a b  c \t d \r\n" * (49 * _MIB // 13) if kind == "signatures" else b"Hello.\r\n"
    content = MESSAGES[kind] + b"\r\n" + body
    asked = MessageQuestion(
        "id",
        "192.0.2.1",
        "x.test",
        "a@x.test",
        ("b@y.test",),
        1.0,
        "mx",
        content,
        size=len(content),
    )

    async def work() -> None:
        lookup.asked.clear()
        verdict = await judge.judge(asked, content)
        assert verdict.rules

    limit = 3 * BUDGET_SECONDS
    assert await cost_of(work, limit) < limit
    assert len(lookup.asked) < 50
