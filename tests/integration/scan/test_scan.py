"""The scanning tier on a real NATS: verdicts, the unscanned lane, and what happens when something
is missing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from email import message_from_bytes
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from posthorn.adapters.nats.bans import NatsBanList, NatsBans
from posthorn.adapters.nats.ingest import NatsIngest
from posthorn.adapters.nats.ingest_consumer import NatsIngestSource
from posthorn.adapters.nats.network_counts import NatsCounts
from posthorn.adapters.nats.scanner import NatsScanner
from posthorn.adapters.nats.unscanned import NatsUnscanned
from posthorn.model.envelope import Body, Envelope, Record, decode_record
from posthorn.model.events import SCANNED
from posthorn.model.verdict import EngineState, ReportKind, Rule, Verdict
from posthorn.ports.scan import MessageQuestion, Report, ScanUnavailable, SenderQuestion
from posthorn.runtime.ids import new_id
from posthorn.wire.auth.results import Outcome, Policy
from posthorn_delivery.unscanned_mover import UnscannedMover
from posthorn_local.embedded import Nats
from posthorn_scan import judge
from posthorn_scan.engines.engine import (
    ConfiguredEngine,
    EngineDown,
    EngineTooLarge,
    Findings,
)
from posthorn_scan.networks import NetworkDefence
from tests.support.builders import make_envelope
from tests.support.polling import until
from tests.support.scan_env import HOSTNAME, ScanEnv, ScriptedEngine, scanning
from tests.support.signing import signature_field
from tests.support.zone_lookup import Row

GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
ZONE = {
    "1.2.0.192.in-addr.arpa": [("PTR", "mx.example.org")],
    "mx.example.org": [("A", "192.0.2.1"), ("TXT", "v=spf1 a -all")],
    "example.org": [("TXT", "v=spf1 ip4:192.0.2.1 -all")],
    "_dmarc.example.org": [("TXT", "v=DMARC1; p=reject")],
    "_dmarc.bank.example": [("TXT", "v=DMARC1; p=reject")],
    "bank.example": [("TXT", "v=spf1 -all")],
}
TRACE = (
    b"Return-Path: <a@example.org>\r\n"
    b"Received: from mx.example.org (mx.example.org [192.0.2.1])\r\n\tby mx.example.test;\r\n"
    b"\tSun, 29 Nov 2026 10:00:00 +0000\r\n"
)
RETURN_PATH = TRACE.index(b"\r\n") + 2


def content(author: str = "a@example.org", text: bytes = b"Hello.") -> bytes:
    return (
        (
            f"From: {author}\r\nTo: b@example.test\r\nSubject: x\r\n"
            "Date: Sun, 29 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n\r\n"
        ).encode()
        + text
        + b"\r\n"
    )


def question(message: bytes, **changes: object) -> MessageQuestion:
    asked = MessageQuestion(
        message_id=str(new_id()),
        client="192.0.2.1",
        helo="mx.example.org",
        reverse_path="a@example.org",
        recipients=("b@example.test",),
        received_at=time.time(),
        hostname=HOSTNAME,
        content=message,
        size=len(message),
    )
    return replace(asked, **changes)  # type: ignore[arg-type]


def engine(client: ScriptedEngine, away: str = "hold") -> ConfiguredEngine:
    return ConfiguredEngine(client, seconds=5, max_bytes=10**7, away=away)  # type: ignore[arg-type]


def unscanned(message: bytes, **changes: object) -> tuple[Envelope, bytes]:
    body = TRACE + message
    envelope = replace(
        make_envelope(body, sender="a@example.org"),
        body=Body.from_message(body, RETURN_PATH),
        received_at=time.time(),
        client_address="192.0.2.1",
        helo="mx.example.org",
    )
    return replace(envelope, **changes), body  # type: ignore[arg-type]


async def judged(env: ScanEnv, count: int = 1) -> list[Record]:
    """Take what has come to the first lane."""
    found: list[Record] = []
    async with NatsIngestSource(env.delivery) as source:
        while len(found) < count:
            for each in await asyncio.wait_for(source.take(100, 1 << 24), 30):
                assert each.subject == "ingest.mx"
                found.append(decode_record(each.octets))
                await each.ack()
    return found


def names(verdict: Verdict) -> set[str]:
    return {rule.name for rule in verdict.rules}


async def test_verdicts_on_honest_forged_spam_and_virus(nats: Nats, tmp_path: Path) -> None:
    clamav = ScriptedEngine()
    rspamd = ScriptedEngine("rspamd", Findings(rules=(Rule("RSPAMD_X", 1.5, "why"),)))
    async with scanning(
        nats, tmp_path / "blobs", zone=ZONE, engines=[engine(rspamd), engine(clamav)]
    ) as env:
        scanner = NatsScanner(env.mx)
        facts = await scanner.sender(SenderQuestion("192.0.2.1", "mx.example.org", "a@example.org"))
        assert facts.iprev.name == "mx.example.org"
        assert [each.outcome for each in facts.spf] == [Outcome.PASS, Outcome.PASS]

        honest = question(content(), facts=facts)
        verdict = await scanner.message(honest)
        assert verdict.authentication.dmarc.outcome is Outcome.PASS
        assert verdict.is_complete
        assert verdict.score < 6
        assert "RSPAMD_X" in names(verdict)
        assert [each.name for each in verdict.engines] == ["builtin", "rspamd", "clamav"]
        assert {each.state for each in verdict.engines} == {EngineState.OK}
        (event,) = [each for each in env.events.events if each.kind == SCANNED]
        assert str(event.message) == honest.message_id
        assert event.detail["score"] == verdict.score

        forged = await scanner.message(question(content("ceo@bank.example")))
        assert forged.authentication.dmarc.outcome is Outcome.FAIL
        assert forged.authentication.dmarc.applied is Policy.REJECT

        spam = await scanner.message(question(content(text=GTUBE), engines=frozenset()))
        assert ("GTUBE", 10.0) in {(rule.name, rule.points) for rule in spam.rules}
        assert spam.engines[1].state is EngineState.SKIPPED
        assert spam.is_complete

        clamav.says = Findings(virus="Eicar")
        assert (await scanner.message(question(content()))).virus == "Eicar"

        report = content(text=b"").replace(
            b"Subject: x",
            b'Content-Type: application/gzip; name="a!b.test!1!2.xml.gz"\r\nSubject: x',
        )
        assert (await scanner.message(question(report))).report is ReportKind.DMARC


async def test_what_dns_leaves_open_for_p_reject_comes_again_once(
    nats: Nats, tmp_path: Path
) -> None:
    zone: dict[str, Sequence[Row]] = {
        **ZONE,
        "broken.example": [("TIMEOUT",)],
        "_dmarc.broken.example": [("TXT", "v=DMARC1; p=reject")],
        "lenient.example": [("TIMEOUT",)],
        "_dmarc.lenient.example": [("TXT", "v=DMARC1; p=quarantine")],
        "_dmarc.silent.example": [("TIMEOUT",)],
        "s1._domainkey.broken.example": [("TIMEOUT",)],
    }
    async with (
        scanning(nats, tmp_path / "one", zone=zone) as env,
        scanning(nats, tmp_path / "two", zone=zone),  # another process: the next try may meet it
    ):
        scanner = NatsScanner(env.mx)

        async def verdict(author: str, path: str, **changes: object) -> Verdict:
            asked = question(content(author), reverse_path=path, **changes)
            return await scanner.message(asked)

        first = await verdict("a@broken.example", "a@broken.example")
        assert first.authentication.dmarc.outcome is Outcome.TEMPERROR
        assert first.come_again
        again = [await verdict("a@broken.example", "a@broken.example") for _ in range(4)]
        assert not any(each.come_again for each in again)
        elsewhere = {"client": "198.51.100.1"}
        assert (await verdict("a@broken.example", "a@broken.example", **elsewhere)).come_again
        for author in ("a@lenient.example", "a@silent.example", "a@example.org"):
            assert not (await verdict(author, author)).come_again, author
        own = {"client": "10.1.2.3"}
        assert not (await verdict("b@broken.example", "b@broken.example", **own)).come_again

        signed = b"From: c@broken.example\r\nMessage-ID: <2@x>\r\n"
        tags = {"d": "broken.example", "s": "s1", "h": "From:Message-ID", "t": None}
        field = signature_field("DKIM-Signature", signed, b"x\r\n", tags)
        by_key = await scanner.message(question(field + signed + b"\r\nx\r\n"))
        assert by_key.authentication.dkim[0].outcome is Outcome.TEMPERROR
        assert by_key.come_again


async def test_a_large_message_is_read_from_the_blob_store(nats: Nats, tmp_path: Path) -> None:
    message = content(text=b"x" * 2_000_000)
    clamav = ScriptedEngine()
    async with scanning(
        nats, tmp_path / "blobs", zone=ZONE, engines=[engine(clamav)], scan_memory_bytes=3_000_000
    ) as env:
        await env.blobs.put("bodies/a", [TRACE, message])
        asked = question(
            message, content=None, blob="bodies/a", skip_bytes=len(TRACE), size=len(message)
        )
        scanner = NatsScanner(env.mx, message_seconds=30)
        for verdict in await asyncio.gather(*(scanner.message(asked) for _ in range(4))):
            assert verdict.authentication.dmarc.outcome is Outcome.PASS
        assert clamav.asked == [message] * 4
        with pytest.raises(ScanUnavailable):
            await scanner.message(replace(asked, size=4_000_000))
        with pytest.raises(ScanUnavailable):
            await scanner.message(replace(asked, blob="bodies/missing"))


async def test_a_message_that_there_is_no_time_to_authenticate_is_held(
    nats: Nats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = b"From: ceo@bank.example\r\nMessage-ID: <3@x>\r\n"
    body = b"x" * 100_000 + b"\r\n"
    tags = {"d": "example.org", "s": "s1", "h": "From:Message-ID", "t": None}
    forged = signature_field("DKIM-Signature", header, body, tags) + header + b"\r\n" + body
    async with scanning(nats, tmp_path / "blobs", zone=ZONE) as env:
        scanner = NatsScanner(env.mx)
        monkeypatch.setattr(judge, "_HASHING_SECONDS", 0)
        late = await scanner.message(question(forged))
        assert (late.hold, late.is_complete) == (True, False)
        assert late.engines[0].state is EngineState.TIMEOUT
        monkeypatch.undo()
        found = await scanner.message(question(forged))
        assert (found.hold, found.authentication.dmarc.applied) == (False, Policy.REJECT)


ATTACHED = content(text=b"PK").replace(
    b"Subject: x", b'Content-Type: application/zip; name="a.zip"\r\nSubject: x'
)


@pytest.mark.parametrize("away", ["accept", "hold", "defer"])
async def test_an_engine_that_is_away_is_seen_and_what_follows_is_a_setting(
    nats: Nats, tmp_path: Path, away: str
) -> None:
    client = ScriptedEngine(says=EngineDown("it is gone"))
    async with scanning(nats, tmp_path / "blobs", zone=ZONE, engines=[engine(client, away)]) as env:
        scanner = NatsScanner(env.mx)
        for _ in range(4):
            verdict = await scanner.message(question(ATTACHED))
            assert verdict.engines[1].state is EngineState.DOWN
            assert (verdict.hold, verdict.defer) == (away == "hold", away == "defer")
            assert not verdict.is_complete
        assert len(client.asked) == 3, "the breaker keeps it from being asked"
        text = await scanner.message(question(content()))
        assert not text.hold
        assert not text.defer
        assert not text.is_complete
        unasked = await scanner.message(question(ATTACHED, engines=frozenset({"rspamd"})))
        assert not unasked.hold
        assert unasked.is_complete
    large = ScriptedEngine(says=EngineTooLarge("over its limit"))
    async with scanning(nats, tmp_path / "blobs", engines=[engine(large)]) as env:
        verdict = await NatsScanner(env.mx).message(question(content()))
        assert verdict.engines[1].state is EngineState.TOO_LARGE
        assert not verdict.hold


async def test_trap_18_what_was_accepted_unscanned_is_judged_before_it_is_delivered(
    nats: Nats, tmp_path: Path
) -> None:
    async with scanning(nats, tmp_path / "blobs", zone=ZONE) as env:
        small, body = unscanned(content())
        ingest = NatsIngest(env.mx)
        await ingest.accept(small, body, unscanned=True)
        number = new_id()
        large, large_body = unscanned(
            content(text=b".dot\r\n" * 200_000), id=number, blob=f"bodies/{number}"
        )
        await env.blobs.put(f"bodies/{number}", [large_body])
        await ingest.accept(large, None, unscanned=True)
        found = {each.envelope.id: each for each in await judged(env, 2)}

        record = found[small.id]
        assert record.body is not None
        assert record.envelope.verdict is not None
        assert record.envelope.verdict.authentication.dmarc.outcome is Outcome.PASS
        assert record.envelope.body == Body.from_message(record.body, RETURN_PATH)
        lines = record.body.split(b"\r\n")
        assert lines[0] == b"Return-Path: <a@example.org>"
        assert lines[1].startswith(b"Authentication-Results: mx.example.test")
        assert record.body.endswith(content())
        at = [record.body.index(each) for each in (b"X-Posthorn-Verdict:", b"Received:")]
        assert at == sorted(at)
        assert replace(record.envelope, verdict=None, body=small.body) == small

        stored = found[number].envelope
        assert stored.blob is not None
        assert stored.blob.startswith(f"bodies/{number}.")
        again = await env.blobs.read(stored.blob, 0, stored.body.size)
        assert stored.body == Body.from_message(again, RETURN_PATH)
        assert again.endswith(large_body[RETURN_PATH:])
        assert stored.body.has_dot_lines
        old = await env.blobs.read(f"bodies/{number}", 0, large.body.size)
        assert old == large_body, "who has the old record finds its body"
        assert (await NatsUnscanned(env.delivery).backlog()).messages == 0


async def test_what_does_not_read_goes_on_to_delivery_which_parks_it(
    nats: Nats, tmp_path: Path
) -> None:
    async with scanning(nats, tmp_path / "blobs") as env:
        await env.mx.request("unscanned.mx", b"rubbish", {"Nats-Msg-Id": "1"})
        async with NatsIngestSource(env.delivery) as source:
            (taken,) = await asyncio.wait_for(source.take(10, 1 << 20), 30)
            assert (taken.subject, taken.octets) == ("ingest.mx", b"rubbish")


def gauge(name: str) -> float:
    return REGISTRY.get_sample_value(f"posthorn_delivery_unscanned_{name}") or 0.0


async def test_a_held_message_stays_until_delivery_gives_up_and_is_stored_once(
    nats: Nats, tmp_path: Path
) -> None:
    client = ScriptedEngine(says=EngineDown("it is gone"))
    async with scanning(nats, tmp_path / "blobs", zone=ZONE, engines=[engine(client)]) as env:
        envelope, body = unscanned(ATTACHED)
        await NatsIngest(env.mx).accept(envelope, body, unscanned=True)
        await until(lambda: client.asked)
        lane, leads = NatsUnscanned(env.delivery), [False]

        async def lead(_: float) -> bool:
            return leads[0]

        now = time.time()
        assert await UnscannedMover(lane, 900, lead, lambda: now).look() == 0
        late = UnscannedMover(lane, 900, lead, lambda: now + 1000)
        assert await late.look() == 0, "another process leads"
        # PosthornUnscanned goes by the age
        assert gauge("messages") == 1
        assert 990 < gauge("oldest_seconds") < 1100
        leads[0] = True
        assert await UnscannedMover(lane, 0, lead, lambda: now + 10**6).look() == 0
        assert (await lane.backlog()).messages == 1
        assert await late.look() == 1
        (moved,) = await judged(env)
        assert moved.body is not None
        assert moved.envelope.body == Body.from_message(moved.body, RETURN_PATH)
        mark, _, rest = moved.body[RETURN_PATH:].partition(b"Received:")
        assert body == moved.body[:RETURN_PATH] + b"Received:" + rest
        fields = message_from_bytes(mark)
        assert fields["X-Posthorn-Verdict"].startswith("unscanned;")
        assert str(envelope.id) in fields["X-Posthorn-Verdict"]
        assert moved.envelope.verdict is not None
        assert moved.envelope.verdict.gave_up
        assert (await lane.backlog()).messages == 0
        assert await late.look() == 0
        assert (gauge("messages"), gauge("oldest_seconds")) == (0, 0)
        # the other mover has read it before
        await env.nats.request("ingest.mx", b"again", {"Nats-Msg-Id": f"{envelope.id}.scanned"})
        info = await env.delivery.api("STREAM.INFO.INGEST")
        assert info["state"]["messages"] == 0


async def test_what_has_waited_for_an_engine_goes_on_with_what_the_others_found(
    nats: Nats, tmp_path: Path
) -> None:
    client = ScriptedEngine(says=EngineDown("it is gone"))
    forged = ATTACHED.replace(b"a@example.org", b"ceo@bank.example")
    async with scanning(nats, tmp_path / "blobs", zone=ZONE, engines=[engine(client)]) as env:
        young, body = unscanned(ATTACHED)
        old, old_body = unscanned(forged, received_at=time.time() - 880)
        for envelope, content_ in ((young, body), (old, old_body)):
            await NatsIngest(env.mx).accept(envelope, content_, unscanned=True)
        (moved,) = await judged(env)
        assert moved.envelope.id == old.id
        verdict = moved.envelope.verdict
        assert verdict is not None
        assert verdict.authentication.dmarc.applied is Policy.REJECT
        assert (verdict.is_complete, verdict.gave_up) == (False, False)
        assert [each.state for each in verdict.engines] == [EngineState.OK, EngineState.DOWN]
        assert (await NatsUnscanned(env.delivery).backlog()).messages == 1


class Silent:
    """A resolver that never answers."""

    async def texts(self, name: str) -> None:
        await asyncio.Event().wait()

    async def addresses(self, name: str, *, v6: bool) -> None:
        await asyncio.Event().wait()

    async def exchangers(self, name: str) -> None:
        await asyncio.Event().wait()

    async def names(self, address: str) -> None:
        await asyncio.Event().wait()


async def test_without_dns_nothing_is_concluded_and_the_verdict_comes_in_time(
    nats: Nats, tmp_path: Path
) -> None:
    async with scanning(
        nats, tmp_path / "blobs", lookup=Silent(), scan_authentication_seconds=0.6
    ) as env:
        scanner = NatsScanner(env.mx)
        facts = await scanner.sender(SenderQuestion("192.0.2.1", "h.test", "a@example.org"))
        assert facts.iprev.outcome is Outcome.TEMPERROR
        assert {each.outcome for each in facts.spf} == {Outcome.TEMPERROR}
        verdict = await scanner.message(question(content("ceo@bank.example")))
        assert verdict.engines[0].state is EngineState.TIMEOUT
        assert verdict.authentication.dmarc.applied is None
        assert verdict.score < 6


async def test_reports_become_bans_that_grow(nats: Nats, tmp_path: Path) -> None:
    async with (
        scanning(nats, tmp_path / "blobs", scan_ban_seconds=600, scan_bans="moderate") as env,
        NatsBans(env.mx) as bans,
    ):
        scanner = NatsScanner(env.mx)
        for kind in ("refused", "connection", "login", "rubbish"):
            scanner.report(Report("203.0.113.1", kind, 100_000))
        scanner.report(Report("10.0.0.1", "unknown-recipient", 1000))
        scanner.report(Report("203.0.113.1", "unknown-recipient", 59))
        for last in range(10, 14):
            scanner.report(Report(f"203.0.113.{last}", "unknown-recipient", 59))
        await until(lambda: bans.until("203.0.113.200"), what="a ban of the /24")
        assert not bans.until("10.0.0.1")
        ban_list = NatsBanList(env.nats)
        assert await ban_list.last("203.0.113.1") is None, "59 are below the limit"
        scanner.report(Report("203.0.113.1", "unknown-recipient"))
        await until(lambda: ban_list.last("203.0.113.1"))
        scanner.report(Report("2001:db8:1:2::9", "protocol", 60))
        await until(lambda: bans.until("2001:db8:1:2::1"))
        first = await ban_list.last("2001:db8:1:2::/64")
        assert first is not None
        assert (first.times, first.kind) == (1, "protocol")
        later = time.time() + 700
        defence = NetworkDefence(NatsCounts(env.nats), ban_list, env.settings, lambda: later)
        counting = asyncio.create_task(defence.run())
        defence.report([Report("2001:db8:1:2::7", "protocol", 60)])

        async def again() -> bool:
            ban = await ban_list.last("2001:db8:1:2::/64")
            return ban is not None and ban.times == 2 and ban.until - later == 1200

        await until(again)
        counting.cancel()


async def test_greylisting_asks_suspicious_strangers_once(nats: Nats, tmp_path: Path) -> None:
    async with scanning(nats, tmp_path / "blobs", zone=ZONE, scan_greylist_seconds=1) as env:
        scanner = NatsScanner(env.mx)
        asked = SenderQuestion("198.51.100.7", "stranger", "x@nowhere.test", greylist=True)
        known = SenderQuestion("192.0.2.1", "mx.example.org", "a@example.org", greylist=True)
        assert (await scanner.sender(known)).greylist_seconds == 0
        assert (await scanner.sender(asked)).greylist_seconds == 1
        assert (await scanner.sender(replace(asked, greylist=False))).greylist_seconds == 0

        async def comes_again_from_the_next_address() -> bool:
            again = await scanner.sender(replace(asked, client="198.51.100.8"))
            return again.greylist_seconds == 0

        await until(comes_again_from_the_next_address, every=0.2)
        assert (await scanner.sender(asked)).greylist_seconds == 0
