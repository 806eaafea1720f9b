"""What engines answer, right or wrong, and what the parts of the scanning tier make of it."""

from __future__ import annotations

import asyncio
import json
import math
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from posthorn.model.verdict import MOST_RULES, EngineState, ReportKind, Rule, Verdict
from posthorn.ports.scan import Listing, MessageQuestion, SenderFacts, SenderQuestion
from posthorn.wire.auth.lookup import DnsUnavailable
from posthorn.wire.auth.results import Arc, Iprev, Outcome, Spf
from posthorn.wire.spam.facts import read_facts
from posthorn_scan.engines import clamav, rspamd
from posthorn_scan.engines.engine import (
    ConfiguredEngine,
    EngineDown,
    EngineTooLarge,
    Findings,
)
from posthorn_scan.greylist import is_suspicious, key_of
from posthorn_scan.judge import most_important
from posthorn_scan.networks import LIMITS, limits_of
from posthorn_scan.report_kind import report_kind
from posthorn_scan.sealers import trusted_sealer
from posthorn_scan.settings import DefenceSettings
from posthorn_scan.timely import TimelyLookup
from posthorn_scan.unscanned import trace_bytes

QUESTION = MessageQuestion("id", "192.0.2.1", "helo", "a@b.test", ("c@d.test",), 1.0, "mx")


@pytest.mark.parametrize(
    ("answer", "virus"),
    [
        (b"stream: OK\0", ""),
        (b"stream: Eicar-Test-Signature FOUND\0", "Eicar-Test-Signature"),
        (b"stream: A FOUND\0stream: B.UNOFFICIAL FOUND\0stream: A FOUND\0", "A, B.UNOFFICIAL"),
        (b"stream: OK\nstream: Win.Test(abc:12) FOUND\n", "Win.Test(abc:12)"),
        (b"stream: \x1b[31mbad\xff name; FOUND\0", "31mbadname"),
        (b"stream:  FOUND\0", "unknown"),
    ],
)
def test_clamd_says_what_it_found(answer: bytes, virus: str) -> None:
    assert clamav.read_answer(answer).virus == virus


@pytest.mark.parametrize(
    "answer", [b"", b"\0\0", b"UNKNOWN COMMAND\0", b"stream: x ERROR\0", b"OK"]
)
def test_anything_else_from_clamd_is_no_judgement(answer: bytes) -> None:
    with pytest.raises(EngineDown):
        clamav.read_answer(answer)


def test_clamds_limit_is_too_large() -> None:
    with pytest.raises(EngineTooLarge):
        clamav.read_answer(b"INSTREAM size limit exceeded. ERROR\0")


@given(st.binary(max_size=200))
def test_no_answer_of_clamd_fails_otherwise(answer: bytes) -> None:
    with suppress(EngineDown, EngineTooLarge):
        found = clamav.read_answer(answer)
        assert found.virus.isascii()
        assert found.virus.isprintable()


def test_the_age_of_signatures_is_read() -> None:
    now = datetime(2026, 1, 6, 9, 30, tzinfo=UTC)
    version = "ClamAV 1.4.3/27500/Mon Jan  5 09:30:00 2026"
    assert clamav.signatures_age(version, now) == 86_400
    for without in ("ClamAV 1.4.3", "ClamAV 1.4.3/1/then"):
        assert clamav.signatures_age(without, now) is None


@given(st.text(max_size=40), st.text("0123456789: JanMonFb", max_size=30))
def test_no_version_of_clamd_fails(version: str, made: str) -> None:
    age = clamav.signatures_age(f"{version}/1/{made}", datetime(2026, 1, 6, tzinfo=UTC))
    assert age is None or age >= 0


def answer_with(**symbols: Any) -> bytes:
    return json.dumps({"action": "no action", "symbols": symbols}).encode()


def test_points_of_rspamd_are_taken_and_those_of_authentication_are_shown() -> None:
    found = rspamd.read_answer(
        answer_with(
            BAYES_SPAM={"score": 5.1, "options": ["100%"], "description": "bayes"},
            R_SPF_FAIL={"score": 1.0, "description": "SPF failed"},
            RBL_SPAMHAUS={"score": 4.0},
            MIME_TRACE={"score": 0.0},
            WILD={"score": 1e300},
            NOTHING={"score": math.nan},
        )
    )
    assert {rule.name: rule.points for rule in found.rules} == {
        "RSPAMD_BAYES_SPAM": 5.1,
        "RSPAMD_R_SPF_FAIL": 0.0,
        "RSPAMD_RBL_SPAMHAUS": 0.0,
        "RSPAMD_WILD": 100.0,
    }


@pytest.mark.parametrize(
    "answer",
    [
        *(b"", b"{}", b"[]", b"null", b'{"symbols": 3}', b'{"symbols": {"A": 1}}', b"<html>"),
        b'{"is_skipped": true, "symbols": {}}',
        b"[" * 50_000,
    ],
)
def test_trap_18_an_empty_or_broken_answer_of_rspamd_is_no_judgement(answer: bytes) -> None:
    with pytest.raises(EngineDown):
        rspamd.read_answer(answer)


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda held: (
        st.lists(held, max_size=3) | st.dictionaries(st.text(max_size=5), held, max_size=3)
    ),
    max_leaves=8,
)
_SYMBOL = st.fixed_dictionaries(
    {}, optional={"score": _JSON, "options": _JSON, "description": _JSON}
)
_ANSWER = st.fixed_dictionaries(
    {"symbols": _JSON | st.dictionaries(st.text(max_size=9), _SYMBOL | _JSON, max_size=4)},
    optional={"action": _JSON, "is_skipped": _JSON},
)


@given(st.binary(max_size=200) | (_ANSWER | _JSON).map(json.dumps).map(str.encode))
@example(answer_with(A={"score": 10**400}))
def test_no_answer_of_rspamd_fails_otherwise(answer: bytes) -> None:
    with suppress(EngineDown):
        found = rspamd.read_answer(answer)
        assert not found.virus
        for rule in found.rules:
            assert -100 <= rule.points <= 100
            assert rule.detail.isascii() and rule.name.startswith("RSPAMD_")


@given(st.text(), st.text(), st.text())
def test_nothing_breaks_out_of_a_request_to_rspamd(helo: str, path: str, recipient: str) -> None:
    asked = replace(QUESTION, helo=helo, reverse_path=path, recipients=(recipient,))
    for name, value in rspamd.request_headers(asked, ""):
        assert not {10, 13, 0} & {*name, *value}


class Client:
    name = "clamav"

    def __init__(self, says: Exception | Findings | None) -> None:
        self.says = says

    async def scan(
        self, content: bytes, question: MessageQuestion, *, client_name: str
    ) -> Findings:
        if self.says is None:
            await asyncio.sleep(60)
        if isinstance(self.says, Exception):
            raise self.says
        return self.says or Findings()

    async def probe(self) -> str:
        return "here"


@pytest.mark.parametrize(
    ("says", "state", "is_away"),
    [
        (Findings(), EngineState.OK, False),
        (None, EngineState.TIMEOUT, True),
        (EngineDown("x"), EngineState.DOWN, True),
        (RuntimeError("a fault of its client"), EngineState.DOWN, True),
        (EngineTooLarge("x"), EngineState.TOO_LARGE, False),
    ],
)
async def test_every_end_of_a_question_is_a_state(
    says: Exception | Findings | None, state: EngineState, is_away: bool
) -> None:
    engine = ConfiguredEngine(Client(says), seconds=0.05, max_bytes=10, away="defer")
    found = await engine.scan(b"message", QUESTION, client_name="")
    assert (found.engine.state, found.away) == (state, "defer" if is_away else None)
    large = await engine.scan(b"x" * 11, QUESTION, client_name="")
    assert large.engine.state is EngineState.TOO_LARGE
    skipped = await engine.scan(b"x", replace(QUESTION, engines=frozenset()), client_name="")
    assert (skipped.engine.state, skipped.away) == (EngineState.SKIPPED, None)


@pytest.mark.parametrize("answers", [True, False])
async def test_messages_that_it_cannot_read_do_not_switch_an_engine_off(*, answers: bool) -> None:
    client = Client(EngineDown("cannot read it"))
    if not answers:
        client.probe = _no_answer  # type: ignore[method-assign]
    engine = ConfiguredEngine(client, seconds=5, max_bytes=10, away="hold")
    for _ in range(3):
        await engine.scan(b"evil", QUESTION, client_name="")
    await asyncio.sleep(0)  # it is asked for its version
    client.says = Findings()
    found = await engine.scan(b"good", QUESTION, client_name="")
    assert (found.engine.state is EngineState.OK, engine.is_up) == (answers, answers)


async def _no_answer() -> str:
    raise EngineDown("gone")


def test_a_verdict_keeps_its_sum_when_it_leaves_rules_out() -> None:
    rules = [Rule(f"R{number}", number / 10) for number in range(100)]
    kept = most_important(rules)
    assert len(kept) == MOST_RULES
    assert Verdict(1.0, rules=kept).score == Verdict(1.0, rules=tuple(rules)).score
    assert most_important(rules[:3])[0].name == "R2"


def test_a_chain_is_believed_only_if_all_of_its_sealers_are() -> None:
    chain = Arc(Outcome.PASS, ("list.example.org", "mail.test"), "mail.test; dmarc=pass")
    assert trusted_sealer(chain, {"example.org", "mail.test"}) == "list.example.org"
    assert not trusted_sealer(chain, {"example.org"}), "the oldest one could have written anything"
    for changed in (
        replace(chain, outcome=Outcome.FAIL),
        replace(chain, results="mail.test; dmarc=fail"),
        replace(chain, results="mail.test; x-dmarc=pass"),
        replace(chain, sealers=()),
    ):
        assert not trusted_sealer(changed, {"example.org", "mail.test"})


def test_a_fault_of_dns_refuses_nothing_that_trusted_sealers_alone_forwarded() -> None:
    chain = Arc(Outcome.TEMPERROR, ("mail.test", "list.example.org", "mail.test"))
    assert trusted_sealer(chain, {"example.org", "mail.test"}) == "mail.test"
    assert not trusted_sealer(chain, {"mail.test"}), "another one may make its own keys fail"


async def test_all_questions_of_a_message_have_one_deadline() -> None:
    class Silent:
        async def texts(self, name: str) -> None:
            await asyncio.Event().wait()

        async def addresses(self, name: str, *, v6: bool) -> list[str]:
            return [name]

    lookup = TimelyLookup(Silent(), 0.01)  # type: ignore[arg-type]
    assert await lookup.addresses("a.test", v6=False) == ["a.test"]
    assert not lookup.is_late
    for _ in range(2):
        with pytest.raises(DnsUnavailable):
            await lookup.texts("b.test")
    assert lookup.is_late


def test_our_trace_fields_are_told_from_the_message() -> None:
    path = b"Return-Path: <>\r\n"
    received = b"Received: from x\r\n\tby y;\r\n z\r\n"
    message = b"Received: from the first host\r\n\r\nbody"
    assert trace_bytes(path + received + message, len(path)) == len(path + received)
    assert trace_bytes(path + b"Subject: x\r\n\r\n", len(path)) == len(path)
    assert trace_bytes(b"Received: cut", 0) == 0


def test_reports_are_recognised_by_their_shape() -> None:
    def kind(fields: bytes) -> ReportKind | None:
        return report_kind(read_facts(fields + b"\r\n\r\nx\r\n"))

    zipped = b'Content-Type: application/zip; name="google.com!example.org!1!2.zip"'
    assert kind(zipped) is ReportKind.DMARC
    assert kind(b"Content-Type: application/tlsrpt+gzip") is ReportKind.TLS
    assert kind(b"Content-Type: message/feedback-report") is ReportKind.ABUSE
    assert kind(b'Content-Type: application/zip; name="a.zip"') is None


GOOD = SenderFacts(
    Iprev(Outcome.PASS, "mx.example.org"), (Spf(Outcome.PASS, "mailfrom", "example.org"),)
)
STRANGER = SenderQuestion("203.0.113.7", "mx.example.org", "a@example.org", greylist=True)


@pytest.mark.parametrize(
    ("facts", "helo", "is_asked_again"),
    [
        (GOOD, "mx.example.org", False),
        (GOOD, "localhost", True),
        (GOOD, "[203.0.113.7]", True),
        (replace(GOOD, iprev=Iprev(Outcome.FAIL)), "mx.example.org", True),
        (replace(GOOD, iprev=Iprev(Outcome.TEMPERROR)), "mx.example.org", False),
        (replace(GOOD, spf=()), "mx.example.org", True),
        (replace(GOOD, listings=(Listing("bl", "x", "c", 3.0),)), "mx.example.org", True),
        (replace(GOOD, spf=(), listings=(Listing("wl", "x", "c", -1.0),)), "x", False),
    ],
)
def test_only_who_looks_bad_is_asked_to_come_again(
    facts: SenderFacts, helo: str, is_asked_again: bool
) -> None:
    assert is_suspicious(replace(STRANGER, helo=helo), facts) is is_asked_again


def test_trap_4_a_stranger_is_known_by_its_network_or_its_spf_domain() -> None:
    unknown = replace(GOOD, spf=())
    assert key_of(STRANGER, unknown) == "net.203.0.113.0/24"
    assert key_of(replace(STRANGER, client="203.0.113.99"), unknown) == "net.203.0.113.0/24"
    v6 = replace(STRANGER, client="2001:db8:1:2:3::4")
    assert key_of(v6, unknown) == "net.2001_db8_1_2__/64"
    elsewhere = replace(STRANGER, client="198.51.100.1")
    assert key_of(STRANGER, GOOD) == key_of(elsewhere, GOOD)


def test_limits_are_those_of_the_preset_unless_set() -> None:
    def limits(**settings: Any) -> dict[str, int]:
        return limits_of(DefenceSettings.model_validate(settings))

    assert limits() == LIMITS["moderate"]
    assert limits(scan_bans="off") == {}
    assert limits(scan_bans="off", scan_ban_refused=7) == {"refused": 7}
    assert limits(scan_ban_protocol_errors=0, scan_ban_connections=9) == {
        "unknown-recipient": LIMITS["moderate"]["unknown-recipient"],
        "connection": 9,
    }
