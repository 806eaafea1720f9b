"""Messages that the scanning tier is asked about: what it is asked, what its verdict does, and
that mail is accepted without it (ADR 31)."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from posthorn.adapters.blobs.files import FileBlobs
from posthorn.model.dmarc_evaluation import decode_evaluation, evaluation_of_refused
from posthorn.model.events import ACCEPTED, REFUSED
from posthorn.model.filter_policy import Action, FilterPolicy
from posthorn.model.verdict import Rule, Verdict
from posthorn.ports.errors import Unavailable
from posthorn.ports.scan import Listing, MessageQuestion, ScanUnavailable, SenderFacts
from posthorn.wire.auth.results import Authentication, Dmarc, Iprev, Outcome, Policy, Spf
from posthorn.wire.smtp.data import stuff
from tests.conformance.smtp.env import (
    BALANCED,
    MESSAGE,
    SmtpDialogue,
    SmtpEnv,
    after_trace,
    check_facts,
    smtp_env,
)
from tests.support.polling import BUSY_SECONDS, LONG_SECONDS

LARGE = MESSAGE + b".a line that begins with a dot\r\n" * 30_000
SPAM = Verdict(1.0, rules=(Rule("SPAMMY", 14.0), Rule("LATE", 2.5), Rule("KNOWN", -1.0)))
VIRUS = Verdict(1.0, virus="Eicar-Test-Signature")
FORGED = Verdict(
    1.0,
    Authentication(
        dmarc=Dmarc(
            Outcome.FAIL,
            "bank.example",
            record_domain="bank.example",
            published=Policy.REJECT,
            applied=Policy.REJECT,
            report_to=("dmarc@bank.example",),
            record="v=DMARC1; p=reject; rua=mailto:dmarc@bank.example",
        )
    ),
)
TO_BOTH = (
    b"MAIL FROM:<a@example.org>\r\nRCPT TO:<alice@example.test>\r\nRCPT TO:<bob@example.test>\r\n"
)
LISTED = Listing("bl.example", "192.0.2.7", "127.0.0.2", 4.0, "see https://bl.example/?192.0.2.7")


@pytest.fixture
async def env() -> AsyncIterator[SmtpEnv]:
    async with smtp_env(smtp_scan=True, **BALANCED) as made:
        yield made


async def to_both(env: SmtpEnv) -> SmtpDialogue:
    talk = await (await env.talk()).hello()
    await talk.send(TO_BOTH)
    assert [await talk.code() for _ in range(3)] == ["250 2.1.0", "250 2.1.5", "250 2.1.5"]
    return talk


async def reply_to(talk: SmtpDialogue, content: bytes) -> str:
    assert await talk.say(b"DATA\r\n") == "354"
    await talk.send(stuff(content) + b".\r\n")
    (line,) = await talk.reply()
    return line


def fields_of(octets: bytes) -> list[str]:
    """Names of the header fields, in order."""
    head = octets.partition(b"\r\n\r\n")[0].decode("latin-1").replace("\r\n\t", " ")
    return [line.partition(":")[0] for line in head.split("\r\n")]


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("posthorn_smtp_in_scanned_total", {"outcome": outcome}) or 0.0


@pytest.mark.parametrize("way", ["data", "bdat"])
@pytest.mark.parametrize("kept_in", ["memory", "a file for want of memory", "the store"])
async def test_a_message_is_judged_as_it_came_and_kept_with_what_was_found(
    way: str, kept_in: str
) -> None:
    content = LARGE if kept_in == "the store" else MESSAGE + b".dots\r\n" * 1000
    facts = SenderFacts(Iprev(Outcome.PASS, "out.example.org"))
    memory = 10 if kept_in == "a file for want of memory" else 64 << 20
    async with smtp_env(smtp_scan=True, smtp_memory_bytes=memory) as env:
        env.scanner.facts = facts
        env.scanner.verdict = verdict = Verdict(1.0, rules=(Rule("SOME", 1.5),))
        talk = await to_both(env)
        if way == "data":
            assert (await reply_to(talk, content)).startswith("250 2.0.0")
        else:
            half = len(content) // 2
            assert await talk.say(b"BDAT %d\r\n" % half + content[:half]) == "250 2.0.0"
            rest = content[half:]
            assert await talk.say(b"BDAT %d LAST\r\n" % len(rest) + rest) == "250 2.0.0"
        (envelope, octets) = env.only()
        (asked,) = env.scanner.messages
        assert asked.recipients == ("alice@example.test", "bob@example.test")
        assert (asked.client, asked.helo) == ("127.0.0.1", "client.example.org")
        assert (asked.reverse_path, asked.hostname) == ("a@example.org", "mx.example.test")
        assert (asked.message_id, asked.size) == (str(envelope.id), len(content))
        assert asked.facts == facts
        if kept_in == "the store":
            assert asked.content is None
            assert asked.blob == f"bodies/{envelope.id}"
            assert env.blobs.puts == [asked.blob, asked.blob], "as it came, then with the fields"
        else:
            assert (asked.content, asked.blob, asked.skip_bytes) == (content, None, 0)
            assert not env.blobs.puts
        assert envelope.verdict == verdict
        assert not env.ingest.unscanned
        assert fields_of(octets)[:4] == [
            "Return-Path",
            "Authentication-Results",
            "X-Posthorn-Verdict",
            "Received",
        ]
        assert octets.endswith(content)
        assert fields_of(octets)[4:] == fields_of(content)


async def test_the_scanner_reads_a_large_message_in_the_store_behind_our_trace_fields(
    env: SmtpEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[bytes] = []

    async def reads(question: MessageQuestion) -> Verdict:
        assert question.blob is not None
        found.append(await env.blobs.read(question.blob, question.skip_bytes, question.size))
        return Verdict(1.0)

    monkeypatch.setattr(env.scanner, "message", reads)
    assert (await reply_to(await (await env.talk()).begin(), LARGE)).startswith("250")
    assert found == [LARGE]


async def test_results_and_verdicts_from_outside_are_removed(env: SmtpEnv) -> None:
    forged = (
        b"Authentication-Results: MX.example.test; dmarc=pass header.from=bank.example\r\n"
        b"X-Posthorn-Verdict: deliver; score=-100\r\n"
        b"x-posthorn-VERDICT : deliver\r\n"
    )
    others = b"Authentication-Results: filter.example.org; dkim=fail\r\nX-Spam-Flag: NO\r\n"
    talk = await (await env.talk()).begin()
    assert (await reply_to(talk, forged + others + forged + MESSAGE)).startswith("250")
    assert env.scanner.messages[0].content == others + MESSAGE
    octets = env.only()[1]
    assert octets.endswith(others + MESSAGE)
    assert [name.lower() for name in fields_of(octets)].count("x-posthorn-verdict") == 1
    assert fields_of(octets).count("Authentication-Results") == 2


async def test_what_is_spam_for_a_recipient_is_told_in_the_header(env: SmtpEnv) -> None:
    env.scanner.verdict = Verdict(1.0, rules=(Rule("SPAMMY", 7.0),))
    assert (await reply_to(await (await env.talk()).begin(), MESSAGE)).startswith("250")
    assert b"\r\nX-Posthorn-Verdict: spam; score=7" in env.only()[1]


@pytest.mark.parametrize(
    ("action", "word"), [(Action.JUNK, b"deliver"), (Action.MARK, b"spam"), (None, b"spam")]
)
async def test_the_header_of_a_shared_copy_is_for_those_who_go_by_it(
    env: SmtpEnv, action: Action | None, word: bytes
) -> None:
    patient = FilterPolicy(junk_score=9)
    env.directory.policies["alice@example.test"] = FilterPolicy() if action is None else patient
    env.directory.policies["bob@example.test"] = FilterPolicy(spam_action=action or Action.JUNK)
    env.scanner.verdict = Verdict(1.0, rules=(Rule("SPAMMY", 7.0),))
    assert (await reply_to(await to_both(env), MESSAGE)).startswith("250")
    assert b"\r\nX-Posthorn-Verdict: " + word + b"; score=7" in env.only()[1]


@pytest.mark.parametrize(
    ("verdict", "policy", "code", "told", "reason"),
    [
        (VIRUS, {}, "550 5.7.1", "virus (Eicar-Test-Signature)", "virus"),
        (FORGED, {}, "550 5.7.26", "bank.example, whose DMARC policy is p=reject", "dmarc"),
        (SPAM, {}, "550 5.7.1", "15.5 points (SPAMMY 14, LATE 2.5, KNOWN -1)", "score"),
        (Verdict(1.0), {"block": ("example.org",)}, "550 5.7.1", "from this sender", "blocked"),
    ],
)
@pytest.mark.parametrize("content", [MESSAGE, LARGE], ids=["small", "large"])
async def test_trap_23_what_every_recipient_refuses_is_refused_with_its_reason(
    env: SmtpEnv,
    verdict: Verdict,
    policy: dict[str, Any],
    code: str,
    told: str,
    reason: str,
    content: bytes,
) -> None:
    env.scanner.verdict = verdict
    for name in ("alice@example.test", "bob@example.test"):
        env.directory.policies[name] = FilterPolicy(**policy)
    before = counted("refused")
    talk = await to_both(env)
    reply = await reply_to(talk, content)
    assert reply.startswith(f"{code} ")
    assert told in reply
    (asked,) = env.scanner.messages
    assert reply.endswith(f"; message {asked.message_id}")
    assert "block" not in reply and "example.org" not in reply
    assert not env.ingest.tried
    assert not env.blobs.objects, "nothing of it stays in the store"
    assert counted("refused") == before + 1
    (event,) = env.events.events
    assert (event.kind, str(event.message)) == (REFUSED, asked.message_id)
    assert event.detail["recipients"] == ["alice@example.test", "bob@example.test"]
    assert (event.detail["reason"], event.detail["reply"]) == (reason, reply)
    assert event.detail["author"] == "a@example.org"
    counted_for_report = decode_evaluation(event.detail.get("dmarc"))
    assert (counted_for_report is not None) == (verdict is FORGED)
    if counted_for_report is not None:
        assert counted_for_report.domain == "bank.example"
        facts = json.loads(counted_for_report.facts)
        assert (facts["ip"], facts["env"], facts["disposition"]) == (
            "127.0.0.1",
            "example.org",
            "reject",
        )
        assert counted_for_report == evaluation_of_refused(verdict, "127.0.0.1", "a@example.org")
    # the session goes on
    assert await talk.say(b"MAIL FROM:<>\r\n") == "250 2.1.0"


@pytest.mark.parametrize("verdict", [VIRUS, FORGED, SPAM], ids=["virus", "forged", "spam"])
async def test_what_one_recipient_wants_is_accepted_for_all(env: SmtpEnv, verdict: Verdict) -> None:
    env.scanner.verdict = verdict
    env.directory.policies["bob@example.test"] = FilterPolicy(
        virus_action=Action.QUARANTINE, enforce_dmarc=False, refuse_score=100
    )
    assert (await reply_to(await to_both(env), MESSAGE)).startswith("250 2.0.0")
    envelope = env.only()[0]
    assert envelope.recipients == ("alice@example.test", "bob@example.test")
    assert envelope.verdict == verdict
    assert [event.kind for event in env.events.events] == [ACCEPTED]


SHOWN_SPAM = replace(
    SPAM, authentication=Authentication(dmarc=Dmarc(Outcome.PASS, "example.org", dkim_aligned=True))
)


async def test_points_do_not_refuse_whom_a_recipient_has_written_to(env: SmtpEnv) -> None:
    env.scanner.verdict = SHOWN_SPAM
    env.correspondents.protected = {("a@example.org", "bob@example.test")}
    content = MESSAGE.replace(b"From: a@example.org", b"From: Ann <A@Example.org>")
    assert (await reply_to(await to_both(env), content)).startswith("250 2.0.0")
    both = ("alice@example.test", "bob@example.test")
    assert env.correspondents.asked == [("a@example.org", both)]
    assert env.only()[0].verdict == SHOWN_SPAM, "delivery decides for each"


@pytest.mark.parametrize(
    ("verdict", "policy", "is_asked"),
    [
        (SHOWN_SPAM, {}, True),
        (SHOWN_SPAM, {"protect_known": False}, False),
        (SPAM, {}, False),
        (replace(SHOWN_SPAM, virus="Eicar"), {}, False),
        (SHOWN_SPAM, {"block": ("example.org",)}, False),
        (FORGED, {}, False),
    ],
    ids=["stranger", "unprotected", "unshown", "virus", "blocked", "forged"],
)
async def test_all_others_are_refused_as_ever(
    env: SmtpEnv, verdict: Verdict, policy: dict[str, Any], is_asked: bool
) -> None:
    env.scanner.verdict = verdict
    env.directory.policies["alice@example.test"] = FilterPolicy(**policy)
    talk = await (await env.talk()).begin()
    assert (await reply_to(talk, MESSAGE)).startswith("550 ")
    assert bool(env.correspondents.asked) is is_asked


async def test_a_fault_of_ours_does_not_refuse_who_may_be_known(env: SmtpEnv) -> None:
    env.scanner.verdict = SHOWN_SPAM
    env.correspondents.fault = Unavailable("delivery", "away")
    assert (await reply_to(await (await env.talk()).begin(), MESSAGE)).startswith("250 2.0.0")


async def test_engines_are_asked_if_one_recipient_permits_them(env: SmtpEnv) -> None:
    env.directory.policies["alice@example.test"] = FilterPolicy(rspamd=False, clamav=False)
    env.directory.policies["bob@example.test"] = FilterPolicy(clamav=False)
    assert (await reply_to(await to_both(env), MESSAGE)).startswith("250")
    assert env.scanner.messages[0].engines == {"rspamd"}


@pytest.mark.parametrize("content", [MESSAGE, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(
    "fault",
    [ScanUnavailable("nobody scans"), Unavailable("nats", "down"), ZeroDivisionError()],
    ids=lambda fault: type(fault).__name__,
)
async def test_without_the_scanning_tier_mail_is_accepted_to_be_scanned_later(
    env: SmtpEnv, fault: Exception, content: bytes
) -> None:
    env.scanner.fault = fault
    # not even what a list of the recipient would refuse: who the author is was not shown
    env.directory.policies["alice@example.test"] = FilterPolicy(block=("example.org",))
    before = counted("unscanned")
    talk = await (await env.talk()).begin()
    assert (await reply_to(talk, content)).startswith("250 2.0.0")
    envelope, octets = env.only()
    assert env.ingest.unscanned == [envelope]
    assert envelope.verdict is None
    assert after_trace(octets) == content
    assert counted("unscanned") == before + 1
    assert len(env.blobs.puts) == (1 if content is LARGE else 0)


async def test_an_engine_that_is_away_holds_or_defers_as_its_setting_says(env: SmtpEnv) -> None:
    env.scanner.verdict = Verdict(1.0, is_complete=False, hold=True)
    talk = await (await env.talk()).begin()
    assert (await reply_to(talk, MESSAGE)).startswith("250 2.0.0")
    envelope, octets = env.only()
    assert env.ingest.unscanned == [envelope]
    assert after_trace(octets) == MESSAGE
    assert envelope.verdict is None
    env.scanner.verdict = Verdict(1.0, is_complete=False, hold=True, defer=True)
    await talk.send(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<alice@example.test>\r\n")
    assert [await talk.code(), await talk.code()] == ["250 2.1.0", "250 2.1.5"]
    assert await reply_to(talk, MESSAGE) == (
        "451 4.3.0 the message cannot be scanned now; try again later"
    )
    assert len(env.ingest.tried) == 1
    assert env.events.events[-1].detail["reason"] == "scanner-away"


@pytest.mark.parametrize(
    ("policy", "is_deferred"),
    [
        ({}, True),
        ({"enforce_dmarc": False}, False),
        ({"forwarders": ("relay.example",)}, False),
        ({"allow": ("127.0.0.0/8",)}, False),
        ({"refuse_score": 3, "junk_score": 2}, True),
    ],
)
async def test_an_author_who_cannot_be_looked_up_is_asked_to_come_again_if_all_recipients_enforce(
    env: SmtpEnv, policy: dict[str, Any], is_deferred: bool
) -> None:
    dmarc = Dmarc(Outcome.TEMPERROR, "bank.example\r\n", published=Policy.REJECT)
    found = Authentication(Iprev(Outcome.PASS, "out.relay.example"), dmarc=dmarc)
    env.scanner.verdict = unchecked = Verdict(1.0, found, come_again=True)
    env.directory.policies["bob@example.test"] = FilterPolicy(**policy)
    talk = await to_both(env)
    reply = await reply_to(talk, MESSAGE)
    if not is_deferred:
        assert reply.startswith("250 2.0.0")
        return
    assert reply == (
        "451 4.7.0 whether bank.example??, whose DMARC policy is p=reject, sent this"
        " cannot be looked up now; try again later"
    )
    assert not env.ingest.tried
    (event,) = env.events.events
    assert (event.kind, event.detail["reason"]) == (REFUSED, "dmarc-lookup")
    assert event.detail["recipients"] == ["alice@example.test", "bob@example.test"]
    env.scanner.verdict = replace(unchecked, come_again=False)  # as at the next try
    await talk.send(TO_BOTH)
    assert [await talk.code() for _ in range(3)] == ["250 2.1.0", "250 2.1.5", "250 2.1.5"]
    assert (await reply_to(talk, MESSAGE)).startswith("250 2.0.0")


async def test_points_without_an_engine_refuse_nothing_but_a_virus_is_one(env: SmtpEnv) -> None:
    env.scanner.verdict = Verdict(1.0, rules=SPAM.rules, is_complete=False)
    assert (await reply_to(await (await env.talk()).begin(), MESSAGE)).startswith("250")
    env.scanner.verdict = Verdict(1.0, virus="Eicar", is_complete=False)
    assert (await reply_to(await (await env.talk()).begin(), MESSAGE)).startswith("550")


async def test_without_the_setting_nobody_is_asked() -> None:
    async with smtp_env() as env:
        assert (await reply_to(await (await env.talk()).begin(), MESSAGE)).startswith("250")
        assert fields_of(env.only()[1])[:2] == ["Return-Path", "Received"]
        assert not env.scanner.senders
        assert not env.scanner.messages


async def test_a_stream_that_fails_after_the_verdict_is_a_451_and_asks_once(env: SmtpEnv) -> None:
    env.ingest.faults = [Unavailable("nats")]
    talk = await (await env.talk()).begin()
    assert (await reply_to(talk, MESSAGE)).startswith("250"), "under the same id"
    assert [each.id for each in env.ingest.tried] == [env.only()[0].id] * 2
    assert len(env.scanner.messages) == 1


async def test_a_large_message_is_never_in_memory(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path)
    await blobs.open()
    content = MESSAGE + (b"x" * 70 + b"\r\n") * 700_000
    assert len(content) > 50_000_000
    async with smtp_env(smtp_scan=True, smtp_message_max_bytes=60_000_000) as env:
        env.blobs.put_file, env.blobs.delete = blobs.put_file, blobs.delete
        talk = await (await env.talk()).begin()
        assert await talk.say(b"DATA\r\n") == "354"
        tracemalloc.start()
        for at in range(0, len(content), 1 << 18):
            await talk.send(content[at : at + (1 << 18)])
        assert await talk.say(b".\r\n") == "250 2.0.0"
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 8 << 20
        ((envelope, body),) = env.ingest.kept
        assert body is None and envelope.blob is not None
        stored = await blobs.read(envelope.blob, 0, envelope.body.size)
        check_facts(envelope.body, stored)
        assert stored.endswith(content)
        assert fields_of(stored[:4000])[1:3] == ["Authentication-Results", "X-Posthorn-Verdict"]
    blobs.close()


# --- the first question


async def test_the_client_is_asked_about_at_mail_and_nothing_waits_for_the_answer(
    env: SmtpEnv,
) -> None:
    env.scanner.open.clear()
    talk = await (await env.talk()).begin()
    (asked,) = env.scanner.senders
    assert (asked.client, asked.helo) == ("127.0.0.1", "client.example.org")
    assert (asked.reverse_path, asked.greylist) == ("a@example.org", False)
    for end, domain in ((b"RSET\r\n", b"example.com"), (b"EHLO again.test\r\n", b"example.org")):
        assert (await talk.say(end)).startswith("250")
        assert await talk.say(b"MAIL FROM:<b@" + domain + b">\r\n") == "250 2.1.0"
    talk.writer.transport.abort()
    await env.nothing_is_left()
    async with asyncio.timeout(BUSY_SECONDS):
        while env.scanner.cancelled < 3:
            await asyncio.sleep(0.005)


async def test_a_client_of_the_last_minute_is_asked_about_only_where_a_policy_needs_it(
    env: SmtpEnv,
) -> None:
    talk = await (await env.talk()).hello()
    path = b"MAIL FROM:<%b@example.org>\r\n"
    for name in (b"a", b"b"):
        assert await talk.say(path % name) == "250 2.1.0"
        assert await talk.say(b"RCPT TO:<alice@example.test>\r\n") == "250 2.1.5"
        assert (await reply_to(talk, MESSAGE)).startswith("250 2.0.0")
    assert [each.facts for each in env.scanner.messages] == [SenderFacts(), None]
    assert [each.reverse_path for each in env.scanner.senders] == ["a@example.org"]
    env.directory.policies["alice@example.test"] = FilterPolicy(refuse_listed=True)
    env.scanner.facts = SenderFacts(listings=(replace(LISTED, subject="127.0.0.1"),))
    assert await talk.say(path % b"c") == "250 2.1.0"
    assert await talk.say(b"RCPT TO:<alice@example.test>\r\n") == "550 5.7.1"
    assert [each.reverse_path for each in env.scanner.senders] == ["a@example.org", "c@example.org"]


async def test_a_listed_client_is_refused_by_those_who_want_that(env: SmtpEnv) -> None:
    env.directory.policies["bob@example.test"] = FilterPolicy(refuse_listed=True)
    env.scanner.facts = SenderFacts(listings=(LISTED,))
    talk = await (await env.stranger()).hello()
    await talk.send(TO_BOTH)
    assert [await talk.code(), await talk.code()] == ["250 2.1.0", "250 2.1.5"]
    (line,) = await talk.reply()
    assert line.startswith(
        "550 5.7.1 192.0.2.7 is on the blocklist bl.example (see https://bl.example/?192.0.2.7); message "
    )
    (event,) = env.events.events
    assert event.kind == REFUSED
    assert (event.detail["recipients"], event.detail["reason"]) == (["bob@example.test"], "listed")
    assert (await reply_to(talk, MESSAGE)).startswith("250 2.0.0")
    assert env.only()[0].recipients == ("alice@example.test",)


@pytest.mark.parametrize(
    ("facts", "policy"),
    [
        (SenderFacts(listings=(Listing("bl.example", "example.org", "127.0.0.2", 4.0),)), {}),
        (SenderFacts(listings=(LISTED, Listing("wl.example", "192.0.2.7", "127.0.0.2", -2))), {}),
        (SenderFacts(listings=(LISTED,)), {"allow": ("192.0.2.0/24",)}),
        (
            SenderFacts(spf=(Spf(Outcome.PASS, "mailfrom", "example.org"),), listings=(LISTED,)),
            {"allow": ("example.org",)},
        ),
        (
            SenderFacts(Iprev(Outcome.PASS, "out.lists.example"), listings=(LISTED,)),
            {"forwarders": ("lists.example",)},
        ),
    ],
    ids=["a domain's listing", "an allow list", "its network", "its address", "a forwarder"],
)
async def test_who_is_welcome_is_not_refused_by_lists(
    env: SmtpEnv, facts: SenderFacts, policy: dict[str, Any]
) -> None:
    env.directory.policies["alice@example.test"] = FilterPolicy(
        refuse_listed=True, greylist=True, **policy
    )
    env.scanner.facts = facts
    await (await env.stranger()).begin()


async def test_an_allowed_address_needs_proof_against_a_list(env: SmtpEnv) -> None:
    env.directory.policies["alice@example.test"] = FilterPolicy(
        refuse_listed=True, allow=("example.org",)
    )
    env.scanner.facts = SenderFacts(
        spf=(Spf(Outcome.PASS, "helo", "example.org"),), listings=(LISTED,)
    )
    talk = await (await env.stranger()).hello()
    await talk.say(b"MAIL FROM:<a@example.org>\r\n")
    assert await talk.say(b"RCPT TO:<alice@example.test>\r\n") == "550 5.7.1"


async def test_trap_5_a_stranger_is_greylisted_for_those_who_want_that_and_leaves_no_copy(
    env: SmtpEnv,
) -> None:
    env.directory.policies["bob@example.test"] = FilterPolicy(greylist=True)
    env.scanner.greylisted = {"bob@example.test": 300, "alice@example.test": 300}
    talk = await (await env.stranger()).hello()
    await talk.send(TO_BOTH)
    assert [await talk.code(), await talk.code()] == ["250 2.1.0", "250 2.1.5"]
    assert await talk.reply() == ["451 4.7.1 greylisted; try again in 300 seconds"]
    asked = [each for each in env.scanner.senders if each.greylist]
    assert [each.recipient for each in asked] == ["bob@example.test"]
    assert (await reply_to(talk, MESSAGE)).startswith("250 2.0.0")
    assert env.only()[0].recipients == ("alice@example.test",)


async def test_without_an_answer_nobody_is_listed_or_greylisted(env: SmtpEnv) -> None:
    env.directory.policies["alice@example.test"] = FilterPolicy(refuse_listed=True, greylist=True)
    env.scanner.fault = ScanUnavailable("nobody scans")
    await (await env.stranger()).begin()


async def test_a_policy_that_cannot_be_read_is_a_451(
    env: SmtpEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: object) -> FilterPolicy:
        raise Unavailable("directory", "secret")

    talk = await (await env.talk()).hello()
    await talk.say(b"MAIL FROM:<a@example.org>\r\n")
    monkeypatch.setattr(env.directory, "policy", broken)
    assert await talk.say(b"RCPT TO:<alice@example.test>\r\n") == "451 4.3.0"
    monkeypatch.undo()
    assert await talk.say(b"DATA\r\n") == "451 4.5.1"
    assert await talk.say(b"RCPT TO:<alice@example.test>\r\n") == "250 2.1.5"
    assert (await reply_to(talk, MESSAGE)).startswith("250")


# --- drain


async def test_a_drain_waits_for_a_verdict(env: SmtpEnv) -> None:
    talk = await (await env.talk()).begin()
    env.scanner.open.clear()
    assert await talk.say(b"DATA\r\n") == "354"
    await talk.send(MESSAGE + b".\r\n")
    async with asyncio.timeout(BUSY_SECONDS):
        while not env.scanner.messages:
            await asyncio.sleep(0.001)
    assert env.listening is not None
    draining = asyncio.create_task(env.listening.limiter.drain(LONG_SECONDS))
    await asyncio.sleep(0.05)
    assert not draining.done()
    env.scanner.open.set()
    assert [await talk.code(), await talk.code()] == ["250 2.0.0", "421 4.3.2"]
    await asyncio.wait_for(draining, BUSY_SECONDS)
    assert env.only()[0].verdict is not None


async def test_a_verdict_that_comes_too_late_for_a_drain_promises_nothing(env: SmtpEnv) -> None:
    talk = await (await env.talk()).begin()
    env.scanner.open.clear()
    assert await talk.say(b"DATA\r\n") == "354"
    await talk.send(MESSAGE + b".\r\n")
    async with asyncio.timeout(BUSY_SECONDS):
        while not env.scanner.messages:
            await asyncio.sleep(0.001)
    assert env.listening is not None
    await env.listening.limiter.drain(0.2)
    assert await talk.code() == "421 4.3.2"
    assert not env.ingest.tried
