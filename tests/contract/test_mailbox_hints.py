"""The port MailboxHints on NATS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from nats.aio.msg import Msg
from prometheus_client import REGISTRY

from posthorn.adapters.nats.connection import Connection, connect
from posthorn.adapters.nats.mailbox_hints import NatsMailboxHints, encode_hints
from posthorn.model.streams import MAILBOX_HINTS
from posthorn.ports.mailbox_hints import Changed, LateHints
from posthorn_local.embedded import Nats
from tests.support.jetstream import nats_settings, restart
from tests.support.polling import BUSY_SECONDS, until

MARK: Changed = (0, 0, 0)
LARGEST: Changed = (2**63 - 1, 2**31 - 1, 2**63 - 1)


class Ear:
    """What a listener has heard."""

    def __init__(self) -> None:
        self.hints: list[Changed] = []
        self.messages = 0
        self.is_up = False

    def __call__(self, account: int, mailbox: int, modseq: int) -> None:
        if account:
            self.hints.append((account, mailbox, modseq))
        self.is_up = True

    async def count(self, message: Msg) -> None:
        self.messages += message.data != encode_hints([MARK])

    async def up(self, sender: NatsMailboxHints) -> None:
        """Wait until what is sent is heard: a flush of nats-py may overtake a subscription."""

        async def heard() -> bool:
            await sender.send([MARK])
            return self.is_up

        await until(heard, what="the subscription", every=0.1)

    async def heard(self, number: int) -> None:
        async def enough() -> bool:
            return len(self.hints) >= number

        await until(enough, what="hints")


@pytest.fixture
async def imap(nats: Nats) -> AsyncIterator[Connection]:
    async with connect(nats_settings(nats), "imap") as made:
        yield made


async def test_hints_reach_everyone_who_listens_one_message_for_a_batch(
    connection: Connection, imap: Connection
) -> None:
    sender, ear, other = NatsMailboxHints(connection), Ear(), Ear()
    async with NatsMailboxHints(imap) as one, NatsMailboxHints(connection) as two:
        await imap.subscribe(MAILBOX_HINTS, ear.count)
        await one.listen(ear)
        await two.listen(other)
        await ear.up(sender)
        await other.up(sender)
        batch = [(7, 1, 5), LARGEST, (7, 2, 0)]
        await sender.send(batch)
        await ear.heard(3)
        await other.heard(3)
        assert ear.hints == other.hints == batch
        assert ear.messages == 1


async def test_what_is_announced_within_a_moment_goes_together_the_last_modseq_of_each(
    connection: Connection, imap: Connection
) -> None:
    late, ear = LateHints(), Ear()
    late.announce([(1, 1, 1)])  # lost
    late.set(NatsMailboxHints(connection).announce)
    async with NatsMailboxHints(imap) as hints:
        await imap.subscribe(MAILBOX_HINTS, ear.count)
        await hints.listen(ear)
        await ear.up(NatsMailboxHints(connection))
        late.announce([(1, 1, 2)])
        for modseq in range(3, 1000):
            late.announce([(1, 1, modseq), (modseq, 1, 1)])
        await ear.heard(998)
        assert (1, 1, 999) in ear.hints
        assert len(ear.hints) <= 999
        assert ear.messages <= 2


async def test_a_malformed_hint_is_ignored_and_counted(
    connection: Connection, imap: Connection
) -> None:
    def counted() -> float:
        return REGISTRY.get_sample_value("posthorn_mailbox_hints_malformed_total") or 0.0

    sender, ear, before = NatsMailboxHints(connection), Ear(), counted()
    async with NatsMailboxHints(imap) as hints:
        await hints.listen(ear)
        await ear.up(sender)
        for payload in (b"", b"x" * 19, b"x" * 41):
            await connection.publish(MAILBOX_HINTS, payload)
        await sender.send([(1, 2, 3)])
        await ear.heard(1)
    assert ear.hints == [(1, 2, 3)]
    assert counted() - before == 3


async def test_without_a_connection_hints_are_lost_at_once_and_later_ones_arrive(
    nats: Nats, connection: Connection, imap: Connection
) -> None:
    sender, ear = NatsMailboxHints(connection), Ear()
    async with NatsMailboxHints(imap) as hints:
        await hints.listen(ear)
        await ear.up(sender)
        nats.stop(kill=True)

        async def down() -> bool:
            return not connection.is_up

        await until(down, what="the loss of the connection")
        async with asyncio.timeout(BUSY_SECONDS):
            await sender.send([(1, 1, 1)])
            sender.announce([(1, 1, 2)])
        restart(nats)
        await connection.wait_up(30)
        await imap.wait_up(30)

        async def heard() -> bool:
            sender.announce([(1, 1, 3)])
            return (1, 1, 3) in ear.hints

        await until(heard, what="a hint over the new connection")
    assert (1, 1, 1) not in ear.hints
