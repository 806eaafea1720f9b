"""The ports Scanner and Bans on NATS, with the side that answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import pytest
from structlog.testing import capture_logs

from posthorn.adapters.nats.bans import NatsBanList, NatsBans
from posthorn.adapters.nats.connection import Connection, connect
from posthorn.adapters.nats.scan_server import NatsScanServer
from posthorn.adapters.nats.scanner import NatsScanner
from posthorn.model.streams import SCAN_MESSAGE, SCAN_SENDER
from posthorn.model.verdict import Rule, Verdict
from posthorn.ports.bans import Ban
from posthorn.ports.scan import (
    MessageQuestion,
    Report,
    ScanUnavailable,
    SenderFacts,
    SenderQuestion,
)
from posthorn.runtime.circuit_breaker import CircuitBreaker
from posthorn_local.embedded import Nats
from tests.support.jetstream import nats_settings, restart
from tests.support.polling import BUSY_SECONDS, LONG_SECONDS, until

SENDER = SenderQuestion("192.0.2.1", "helo.example.org", "a@example.org")
VERDICT = Verdict(1.0, rules=(Rule("A", 2.0),))
LARGE = 700_000


def question(content: bytes = b"Subject: x\r\n\r\nbody\r\n") -> MessageQuestion:
    return MessageQuestion(
        "id", "192.0.2.1", "h", "a@example.org", ("b@example.test",), 1.0, "mx", content
    )


class Tier:
    """Answers, in the way that a test wants."""

    def __init__(self) -> None:
        self.asked: list[SenderQuestion | MessageQuestion] = []
        self.reports: list[Report] = []
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.fault: Exception | None = None

    async def _wait(self, question: SenderQuestion | MessageQuestion) -> None:
        self.asked.append(question)
        await self.goes_on.wait()
        if self.fault is not None:
            raise self.fault

    async def sender(self, question: SenderQuestion) -> SenderFacts:
        await self._wait(question)
        return SenderFacts(greylist_seconds=7)

    async def message(self, question: MessageQuestion) -> Verdict:
        await self._wait(question)
        return VERDICT

    def report(self, reports: Sequence[Report]) -> None:
        self.reports += reports


@pytest.fixture
async def elsewhere(nats: Nats) -> AsyncIterator[Connection]:
    async with connect(nats_settings(nats), "scan") as made:
        yield made


async def test_questions_are_answered_by_one_of_several_processes(
    connection: Connection, elsewhere: Connection
) -> None:
    scanner, tiers = NatsScanner(connection), [Tier(), Tier()]
    async with NatsScanServer(elsewhere, tiers[0]), NatsScanServer(connection, tiers[1]):
        for _ in range(20):
            assert await scanner.sender(SENDER) == SenderFacts(greylist_seconds=7)
        large = question(b"x" * LARGE)
        assert await scanner.message(large) == VERDICT
    asked = tiers[0].asked + tiers[1].asked
    assert len(asked) == 21
    assert isinstance(asked[-1], MessageQuestion | SenderQuestion)
    assert any(
        isinstance(each, MessageQuestion) and each.content == large.content for each in asked
    )


async def test_nobody_there_is_told_at_once_and_leaves_the_streams_alone(
    connection: Connection,
) -> None:
    scanner = NatsScanner(connection, sender_seconds=LONG_SECONDS, message_seconds=LONG_SECONDS)
    async with asyncio.timeout(BUSY_SECONDS):
        for _ in range(10):
            with pytest.raises(ScanUnavailable, match="nobody"):
                await scanner.sender(SENDER)
            with pytest.raises(ScanUnavailable, match="nobody"):
                await scanner.message(question())
    async with NatsScanServer(connection, Tier()):
        assert (await scanner.sender(SENDER)).greylist_seconds == 7, "it is asked at once again"


async def test_what_nats_would_not_take_is_not_sent(connection: Connection) -> None:
    async with NatsScanServer(connection, Tier()):
        with pytest.raises(ScanUnavailable, match="too large"):
            await NatsScanner(connection).message(question(b"x" * 1_100_000))


async def test_after_time_outs_it_is_asked_only_now_and_then(connection: Connection) -> None:
    tier = Tier()
    tier.goes_on.clear()
    scanner = NatsScanner(connection, sender_seconds=0.3, message_seconds=LONG_SECONDS)
    now = 0.0
    scanner._breakers[SCAN_SENDER] = CircuitBreaker(clock=lambda: now)
    with capture_logs() as logs:
        async with NatsScanServer(connection, tier):
            for _ in range(3):
                with pytest.raises(ScanUnavailable, match="in time"):
                    await scanner.sender(SENDER)
            with pytest.raises(ScanUnavailable, match="at present"):
                await scanner.sender(SENDER)
            tier.goes_on.set()
            assert await scanner.message(question()) == VERDICT, (
                "the other question is not concerned"
            )

            async def answers() -> bool:
                nonlocal now
                now += 60  # the longest rest
                try:
                    await scanner.sender(SENDER)
                except ScanUnavailable:
                    return False
                return True

            await until(answers)
    told = [(line["log_level"], line["event"]) for line in logs if line.get("question")]
    assert told == [
        ("error", "the scanning tier does not answer"),
        ("info", "the scanning tier answers again"),
    ]
    assert {line["question"] for line in logs if line.get("question")} == {SCAN_SENDER}


async def test_a_process_with_too_much_to_do_says_so_at_once(
    connection: Connection, elsewhere: Connection
) -> None:
    busy, idle = Tier(), Tier()
    busy.goes_on.clear()
    scanner = NatsScanner(connection, sender_seconds=BUSY_SECONDS, message_seconds=LONG_SECONDS)
    async with NatsScanServer(elsewhere, busy, messages=1, senders=1):
        first = asyncio.create_task(scanner.message(question()))

        async def at_work() -> bool:
            return bool(busy.asked)

        await until(at_work)
        async with asyncio.timeout(BUSY_SECONDS):
            with pytest.raises(ScanUnavailable, match="too much"):
                await scanner.message(question())
        busy.goes_on.set()
        assert await first == VERDICT
        busy.goes_on.clear()
        waiting = [asyncio.create_task(scanner.sender(SENDER))]
        async with NatsScanServer(connection, idle):
            waiting += [asyncio.create_task(scanner.sender(SENDER)) for _ in range(4)]
            await asyncio.sleep(0.2)
            busy.goes_on.set()
            results = await asyncio.gather(*waiting, return_exceptions=True)
    assert any(isinstance(each, SenderFacts) for each in results)


@pytest.mark.parametrize("fault", [RuntimeError("x"), ScanUnavailable("y")])
async def test_a_fault_of_the_tier_is_no_verdict(connection: Connection, fault: Exception) -> None:
    tier = Tier()
    tier.fault = fault
    async with NatsScanServer(connection, tier):
        with pytest.raises(ScanUnavailable):
            await NatsScanner(connection).message(question())


async def test_what_is_under_way_is_answered_before_a_process_ends(
    connection: Connection, elsewhere: Connection
) -> None:
    tier = Tier()
    tier.goes_on.clear()
    scanner = NatsScanner(connection)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(NatsScanServer(elsewhere, tier))
        asked = asyncio.create_task(scanner.message(question()))

        async def at_work() -> bool:
            return bool(tier.asked)

        await until(at_work)
        leaving = asyncio.create_task(stack.aclose())
        await until(
            lambda: all(each.subject != SCAN_MESSAGE for each in elsewhere.client._subs.values())
        )
        await elsewhere.client.flush()  # and the server knows
        with pytest.raises(ScanUnavailable, match="nobody"):
            await scanner.message(question())
        tier.goes_on.set()
        assert await asked == VERDICT
        await leaving


async def test_rubbish_is_answered_as_an_error_and_only_to_who_may_ask(
    connection: Connection, elsewhere: Connection
) -> None:
    async with NatsScanServer(elsewhere, Tier()) as server:
        for subject in (SCAN_SENDER, SCAN_MESSAGE):
            answer = await connection.request(subject, b"rubbish", to_stream=False)
            assert answer.data.startswith(b'{"v":1,"error"')
        heard: list[bytes] = []

        async def hear(message: object) -> None:
            heard.append(b"")

        for reply in ("ingest.submission", "_INBOX.delivery.x", "anything"):
            await connection.subscribe(reply, hear)
            await connection.publish(SCAN_SENDER, b"rubbish", reply)
        await connection.request(SCAN_SENDER, b"rubbish", to_stream=False)
        await server.probe()
    assert not heard


async def test_reports_are_gathered_and_a_new_client_serves_again(
    nats: Nats, connection: Connection
) -> None:
    tier, scanner = Tier(), NatsScanner(connection)
    async with NatsScanServer(connection, tier):
        for _ in range(5):
            scanner.report(Report("192.0.2.1", "refused", 2))
        scanner.report(Report("192.0.2.2", "connection"))

        async def counted() -> bool:
            return len(tier.reports) == 2

        await until(counted)
        assert tier.reports == [
            Report("192.0.2.1", "refused", 10),
            Report("192.0.2.2", "connection"),
        ]
        nats.stop(kill=True)
        with pytest.raises(ScanUnavailable):
            await scanner.sender(SENDER)
        scanner.report(Report("192.0.2.3", "connection"))
        restart(nats)

        async def serves() -> bool:
            try:
                return (await scanner.sender(SENDER)).greylist_seconds == 7
            except ScanUnavailable:
                return False

        await until(serves)


async def test_bans_are_known_everywhere_and_stay_known_without_a_connection(
    nats: Nats, connection: Connection, elsewhere: Connection
) -> None:
    bans, now = NatsBanList(elsewhere), time.time()
    await bans.ban("203.0.113.0/24", Ban(now + 600, 2, "refused"), 3600)
    await bans.ban("198.51.100.9", Ban(now - 1, 1, "refused"), 3600)
    async with NatsBans(connection) as watched:

        async def knows() -> bool:
            return watched.until("203.0.113.7") > now

        await until(knows)
        assert watched.until("::ffff:203.0.113.7") > now
        assert not watched.until("203.0.114.7")
        assert not watched.until("198.51.100.9"), "the ban has ended"
        await bans.ban("2001:db8:1:2::/64", Ban(now + 600), 3600)

        async def knows_the_other() -> bool:
            return watched.until("2001:db8:1:2:3::4") > now

        await until(knows_the_other)
        assert not watched.until("2001:db8:1:3::4")
        assert await bans.last("203.0.113.0/24") == Ban(now + 600, 2, "refused")
        assert await bans.last("192.0.2.1") is None
        nats.stop(kill=True)

        async def lost() -> bool:
            return not watched.is_live

        await until(lost)
        assert watched.until("2001:db8:1:2:3::4") > now
        restart(nats)

        async def again() -> bool:
            return watched.is_live

        await until(again)
        assert watched.until("2001:db8:1:2:3::4") > now
