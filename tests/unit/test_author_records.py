"""DMARC records that are kept from one message of an author to the next."""

from __future__ import annotations

import pytest

from posthorn.ports.scan import MessageQuestion, SenderFacts
from posthorn.runtime.blocklists import Blocklists
from posthorn.wire.auth.dmarc import Records
from posthorn.wire.auth.results import Iprev, Outcome, Policy, Spf
from posthorn_scan.author_records import KEPT_SECONDS, AuthorRecords
from posthorn_scan.judge import Judge
from posthorn_scan.sender import SenderChecks
from tests.support.clock import Clock
from tests.support.spam import message
from tests.support.zone_lookup import ZoneLookup

ZONE = {"_dmarc.example.org": [("TXT", "v=DMARC1; p=reject")]}


def judge_of(lookup: ZoneLookup) -> Judge:
    lists = Blocklists(lookup, ())
    senders = SenderChecks(lookup, lists, None, hostname="mx.test", seconds=60, keep_seconds=60)
    return Judge(lookup, None, lists, senders, [])  # type: ignore[arg-type]


def question(content: bytes, spf: Outcome) -> MessageQuestion:
    facts = SenderFacts(Iprev(), (Spf(spf, "mailfrom", "mail.example.org"),))
    return MessageQuestion(
        "id",
        "192.0.2.1",
        "mail.example.org",
        "a@mail.example.org",
        ["bob@example.test"],
        1.0,
        "mx.test",
        content,
        facts=facts,
    )


async def test_the_next_message_of_an_author_asks_for_no_policy_and_is_judged_by_itself() -> None:
    lookup = ZoneLookup(ZONE)
    judge = judge_of(lookup)
    content = message(fields={"From": "a@news.example.org"})
    first = await judge.judge(question(content, Outcome.PASS), content)
    assert first.authentication.dmarc.outcome is Outcome.PASS
    asked = [name for name, _ in lookup.asked]
    assert {"_dmarc.news.example.org", "_dmarc.example.org", "_dmarc.org"} <= set(asked)
    lookup.asked.clear()
    again = await judge.judge(question(content, Outcome.FAIL), content)
    assert again.authentication.dmarc.outcome is Outcome.FAIL
    assert again.authentication.dmarc.applied is Policy.REJECT
    assert not [name for name, _ in lookup.asked if name.startswith("_dmarc.")]
    other = message(fields={"From": "a@other.example.org"})
    await judge.judge(question(other, Outcome.FAIL), other)
    assert ("_dmarc.other.example.org", "TXT") in lookup.asked


async def test_records_are_kept_for_a_while_from_the_first_message_on() -> None:
    clock, authors = Clock(100.0), ["example.org"]
    kept = AuthorRecords(clock)
    records = Records(ZoneLookup(ZONE))
    await records.fetch(authors)
    kept.keep(authors, records)
    clock.now += KEPT_SECONDS - 1
    later = kept.of(ZoneLookup({}), authors)
    assert later.is_known(authors)
    found = await later.record_at("example.org")
    assert found is not None
    assert found.policy is Policy.REJECT
    kept.keep(authors, later)
    clock.now += 1
    assert not kept.of(ZoneLookup({}), authors).is_known(authors)


@pytest.mark.parametrize(
    "zone",
    [
        {"_dmarc.example.org": [("TIMEOUT",)]},
        {**ZONE, "_dmarc.b.example.org": [("TIMEOUT",)]},
    ],
    ids=["of the author", "of a signer"],
)
async def test_what_a_failed_lookup_left_open_is_asked_again(zone: dict[str, list[object]]) -> None:
    lookup, kept, authors = ZoneLookup(zone), AuthorRecords(), ["example.org"]  # type: ignore[arg-type]
    records = kept.of(lookup, authors)
    await records.fetch(authors)
    await records.fetch(["b.example.org"])
    kept.keep(authors, records)
    lookup.asked.clear()
    await kept.of(lookup, authors).fetch(authors)
    assert ("_dmarc.example.org", "TXT") in lookup.asked


async def test_what_one_message_finds_does_not_change_what_is_kept() -> None:
    kept, authors = AuthorRecords(), ["example.org"]
    records = Records(ZoneLookup(ZONE))
    await records.fetch(authors)
    kept.keep(authors, records)
    mine = kept.of(ZoneLookup({"_dmarc.b.test": [("TIMEOUT",)]}), authors)
    await mine.fetch(["a.test"])
    await mine.fetch(["b.test"])
    other = kept.of(ZoneLookup({}), authors)
    assert other.is_known(authors)
    assert not other.is_known(["a.test"])
    assert other.can_be_kept(16)
    assert not mine.can_be_kept(16)


async def test_authors_and_the_names_of_one_are_bounded() -> None:
    kept = AuthorRecords()
    wide = Records(ZoneLookup(ZONE))
    await wide.fetch(["example.org"])
    for number in range(20):
        await wide.fetch([f"n{number}.example.org"])
    kept.keep(["example.org"], wide)
    assert not kept.of(ZoneLookup({}), ["example.org"]).is_known(["example.org"])
    for number in range(1001):
        records = Records(ZoneLookup({}))
        await records.fetch([f"n{number}.test"])
        kept.keep([f"n{number}.test"], records)
    assert not kept.of(ZoneLookup({}), ["n0.test"]).is_known(["n0.test"])
    assert kept.of(ZoneLookup({}), ["n1000.test"]).is_known(["n1000.test"])
