"""Traps that other filters fell into, by their numbers, as far as no other file has a test of its
own for them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from posthorn.model.filter_decision import Sender, decide
from posthorn.model.filter_policy import Action, FilterPolicy
from posthorn.model.verdict import EngineState, Rule, Verdict
from posthorn.ports.scan import Listing, MessageQuestion
from posthorn.runtime.blocklists import MOST_POINTS, Blocklists, ListZone
from posthorn.wire.auth.results import Authentication, Dmarc, Iprev, Outcome, Policy
from posthorn.wire.spam.scorer import RULES, score
from posthorn_scan.engines.engine import ConfiguredEngine, Findings
from posthorn_scan.judge import Judge
from posthorn_scan.sender import SenderChecks
from tests.support.spam import case, message
from tests.support.zone_lookup import ZoneLookup

ZONE = ListZone.model_validate({"zone": "bl.test", "codes": {"127.0.0.2": {"points": 4}}})
CLIENT = "8.8.4.4"


async def test_trap_3_addresses_of_received_fields_are_not_looked_up() -> None:
    lookup = ZoneLookup(
        {
            "2.0.0.127.bl.test": [("A", "127.0.0.2")],
            "9.9.9.9.bl.test": [("A", "127.0.0.2")],
        }
    )
    lists = Blocklists(lookup, [ZONE])
    senders = SenderChecks(lookup, lists, None, hostname="mx.test", seconds=60, keep_seconds=60)
    judge = Judge(lookup, None, lists, senders, [])  # type: ignore[arg-type]
    received = "from home (dial-up.test [9.9.9.9]) by relay.test; Tue, 01 Jul 2025 10:00:00 +0000"
    verdict = await judge.judge(
        _question(client=CLIENT),
        message(fields={"Received": received, "X-Originating-IP": "9.9.9.9"}),
    )
    asked = {name for name, _ in lookup.asked if name.endswith("bl.test")}
    assert "4.4.8.8.bl.test" in asked and "9.9.9.9.bl.test" not in asked
    assert not any(rule.name.startswith("LISTED") for rule in verdict.rules)


class _Engine:
    def __init__(self, name: str, found: Findings | None) -> None:
        self.name = name
        self._found = found

    async def scan(
        self, content: bytes, question: MessageQuestion, *, client_name: str
    ) -> Findings:
        if self._found is None:
            await asyncio.Event().wait()
        assert self._found is not None
        return self._found

    async def probe(self) -> str:
        return self.name


async def test_trap_19_a_virus_is_found_though_rspamd_does_not_answer_in_time() -> None:
    lookup = ZoneLookup({})
    lists = Blocklists(lookup, [])
    senders = SenderChecks(lookup, lists, None, hostname="mx.test", seconds=60, keep_seconds=60)
    slow, clamav = _Engine("rspamd", None), _Engine("clamav", Findings(virus="Eicar"))
    engines = [
        ConfiguredEngine(each, seconds=seconds, max_bytes=10**6, away="accept")
        for each, seconds in ((slow, 0.01), (clamav, 60.0))
    ]
    judge = Judge(lookup, None, lists, senders, engines)  # type: ignore[arg-type]
    verdict = await judge.judge(_question(), message())
    assert verdict.virus == "Eicar"
    assert [each.state for each in verdict.engines][1:] == [EngineState.TIMEOUT, EngineState.OK]


@pytest.mark.parametrize(
    "fields",
    [
        {"X-Spam-Status": "Yes, score=99", "X-Spam-Flag": "YES", "X-Spamd-Result": "spam"},
        {"X-Spam-Status": "No, score=-99", "X-Posthorn-Verdict": "deliver; score=-99"},
        {"Authentication-Results": "mx.example.test; dmarc=pass", "Received-SPF": "pass"},
    ],
)
def test_trap_12_headers_of_other_filters_are_a_strangers_word(fields: dict[str, str]) -> None:
    assert score(case(message(fields=fields))) == score(case(message()))


def test_trap_14_no_single_source_crosses_the_threshold() -> None:
    assert FilterPolicy().junk_score > MOST_POINTS
    assert max(rule.points for rule in RULES) < FilterPolicy().junk_score
    listing = Listing("bl.test", CLIENT, "127.0.0.2", MOST_POINTS)
    many = [listing, Listing("bl.test", "evil.test", "127.0.0.2", MOST_POINTS)]
    assert sum(each.points for each in score(case(message(), listings=many))) <= MOST_POINTS


@pytest.mark.parametrize(
    ("policy", "action"),
    [(FilterPolicy(forwarders=("old.test",)), Action.DELIVER), (FilterPolicy(), Action.JUNK)],
)
def test_trap_15_of_forwarded_mail_the_author_alone_is_judged(
    policy: FilterPolicy, action: Action
) -> None:
    way = ("SPF_FAIL", "DMARC_FAIL", "HELO_PLAIN", "RECIPIENTS_MISSING", "DYNAMIC_NAME")
    found = Verdict(
        1.0,
        Authentication(Iprev(Outcome.PASS, "mx1.old.test")),
        (*(Rule(name, 2.0) for name in way), Rule("FILE_MACROS", 2.0)),
    )
    sender = Sender("ann@example.net", "ann@example.net", CLIENT, is_shown=False)
    assert decide(found, policy, sender).action is action
    forged = Dmarc(Outcome.FAIL, "example.net", applied=Policy.REJECT)
    refused = Verdict(1.0, Authentication(found.authentication.iprev, dmarc=forged))
    assert decide(refused, policy, sender).action is (
        Action.JUNK if policy.forwarders else Action.REFUSE
    )


def _question(**changes: Any) -> MessageQuestion:
    known: dict[str, Any] = {
        "message_id": "id",
        "client": CLIENT,
        "helo": "mail.example.net",
        "reverse_path": "ann@example.net",
        "recipients": ("bob@ours.test",),
        "received_at": 1.0,
        "hostname": "mx.test",
    }
    return MessageQuestion(**known | changes)
