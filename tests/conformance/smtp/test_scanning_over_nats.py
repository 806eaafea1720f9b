"""The scanning tier asked over a real NATS, with answerers that fail in every way: mail is accepted
all the same, to be scanned later, and nothing waits longer than the deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress

from nats.aio.msg import Msg

from posthorn.adapters.nats.connection import connect
from posthorn.adapters.nats.scan_server import NatsScanServer
from posthorn.adapters.nats.scanner import NatsScanner
from posthorn.model.filter_policy import FilterPolicy
from posthorn.model.streams import SCAN_MESSAGE, SCAN_SENDER
from posthorn.model.verdict import Verdict
from posthorn.ports.scan import (
    Listing,
    MessageQuestion,
    Report,
    ScanUnavailable,
    SenderFacts,
    SenderQuestion,
)
from posthorn_local.embedded import Nats
from tests.conformance.smtp.env import BALANCED, MESSAGE, SmtpEnv, after_trace, smtp_env
from tests.support.jetstream import nats_settings
from tests.support.polling import BUSY_SECONDS, until

LISTED = Listing("bl.example", "192.0.2.7", "127.0.0.2", 4.0)


class Tier:
    """Answers with ``facts`` and ``verdict``."""

    def __init__(self) -> None:
        self.facts = SenderFacts(listings=(LISTED,))
        self.verdict = Verdict(1.0)
        self.asked: list[MessageQuestion] = []

    async def sender(self, question: SenderQuestion) -> SenderFacts:
        return self.facts

    async def message(self, question: MessageQuestion) -> Verdict:
        self.asked.append(question)
        return self.verdict

    def report(self, reports: Sequence[Report]) -> None:
        """Take them."""


async def send(env: SmtpEnv, content: bytes = MESSAGE) -> str:
    talk = await (await env.talk()).begin()
    return await talk.data(content + b".\r\n")


async def accepts_unscanned(env: SmtpEnv) -> None:
    """A message goes into the lane of unscanned ones."""
    before = len(env.ingest.unscanned)
    async with asyncio.timeout(30):
        assert await send(env) == "250 2.0.0"
    assert len(env.ingest.unscanned) == before + 1
    envelope, octets = env.kept()[-1]
    assert envelope.verdict is None
    assert after_trace(octets) == MESSAGE


async def answers(scanner: NatsScanner) -> None:
    """Wait until the server knows who answers."""

    async def found() -> bool:
        with suppress(ScanUnavailable):
            await scanner.sender(SenderQuestion("192.0.2.7", "client.example.org", ""))
            return True
        return False

    await until(found)


async def test_a_tier_that_answers_decides(nats: Nats) -> None:
    async with AsyncExitStack() as stack:
        asking = await stack.enter_async_context(connect(nats_settings(nats), "smtp-in"))
        answering = await stack.enter_async_context(connect(nats_settings(nats), "scan"))
        env = await stack.enter_async_context(
            smtp_env(scanner=(scanner := NatsScanner(asking)), smtp_scan=True, **BALANCED)
        )
        tier = Tier()
        async with NatsScanServer(answering, tier):
            await answers(scanner)
            # the largest message that is kept in the stream can be asked about
            largest = MESSAGE + (b"x" * 70 + b"\r\n") * 7_200
            assert len(largest) > 510_000
            # about a client that the tier knows by now it is not asked at MAIL again
            for content, facts in ((MESSAGE, tier.facts), (largest, None)):
                assert await send(env, content) == "250 2.0.0"
                assert tier.asked[-1].content == content
                assert tier.asked[-1].facts == facts
                assert env.kept()[-1][0].verdict == tier.verdict
            tier.verdict = Verdict(1.0, virus="Eicar")
            assert await send(env) == "550 5.7.1"
            env.directory.policies["alice@example.test"] = FilterPolicy(refuse_listed=True)
            talk = await (await env.stranger()).hello()
            await talk.say(b"MAIL FROM:<a@example.org>\r\n")
            assert await talk.say(b"RCPT TO:<alice@example.test>\r\n") == "550 5.7.1"
        assert not env.ingest.unscanned
        # and between the two questions it may die
        env.directory.policies.clear()
        async with NatsScanServer(answering, tier):
            await answers(scanner)
            talk = await (await env.talk()).begin()
            await asyncio.sleep(0.1)
        assert await talk.data(MESSAGE + b".\r\n") == "250 2.0.0"
        assert len(env.ingest.unscanned) == 1


async def silent(_: Msg) -> None:
    """Never answer."""


WRONG = [
    b"",
    b"nonsense",
    b"{}",
    b'{"v":99}',
    b'{"v":1,"busy":true}',
    b'{"v":1,"verdict":{"at":"x"}}',
    b'{"v":1,"verdict":{"at":1,"auth":{},"rules":[["A","many",""]]}}',
    b'{"v":1,"facts":7}',
    b"[" * 100_000,
    b"\xff\x00",
]


async def test_absent_silent_and_lying_tiers_refuse_nothing(nats: Nats) -> None:
    async with AsyncExitStack() as stack:
        asking = await stack.enter_async_context(connect(nats_settings(nats), "smtp-in"))
        lying = await stack.enter_async_context(connect(nats_settings(nats), "scan"))
        scanner = NatsScanner(asking, sender_seconds=0.2, message_seconds=0.4)
        env = await stack.enter_async_context(smtp_env(scanner=scanner, smtp_scan=True))
        env.directory.policies["alice@example.test"] = FilterPolicy(
            refuse_listed=True, greylist=True, block=("example.org",)
        )
        await accepts_unscanned(env)
        for answer in WRONG:

            async def reply(message: Msg, answer: bytes = answer) -> None:
                await lying.publish(message.reply, answer)

            served = [await lying.subscribe(each, reply) for each in (SCAN_SENDER, SCAN_MESSAGE)]
            await lying.client.flush()
            await accepts_unscanned(env)
            for each in served:
                await each.unsubscribe()
        served = [await lying.subscribe(each, silent) for each in (SCAN_SENDER, SCAN_MESSAGE)]
        await lying.client.flush()
        for _ in range(8):  # beyond the patience of the breaker
            await accepts_unscanned(env)


async def test_a_connection_that_breaks_while_a_verdict_is_awaited_is_no_refusal(
    nats: Nats,
) -> None:
    async with AsyncExitStack() as stack:
        asking = await stack.enter_async_context(connect(nats_settings(nats), "smtp-in"))
        env = await stack.enter_async_context(smtp_env(scanner=NatsScanner(asking), smtp_scan=True))
        heard = asyncio.Event()

        async def hear(_: Msg) -> None:
            heard.set()

        await asking.subscribe(SCAN_MESSAGE, hear)
        sending = asyncio.create_task(accepts_unscanned(env))
        async with asyncio.timeout(BUSY_SECONDS):
            await heard.wait()
        nats.stop()
        await sending
