"""The ports Waker and Wakes on NATS: hints that something is due."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator

import pytest
from nats.aio.msg import Msg

from posthorn.adapters.nats import notifications as module
from posthorn.adapters.nats.connection import Connection, connect
from posthorn.adapters.nats.notifications import NatsNotifications, NatsNotifier
from posthorn.model.streams import WAKE_SUBJECT
from posthorn.ports.notifications import ANY
from posthorn_local.embedded import Nats
from tests.support.jetstream import nats_settings, restart
from tests.support.polling import BUSY_SECONDS, until


@pytest.fixture
async def connection(nats: Nats) -> AsyncIterator[Connection]:
    async with connect(nats_settings(nats), "test") as made:
        yield made


@pytest.fixture
async def elsewhere(nats: Nats) -> AsyncIterator[Connection]:
    async with connect(nats_settings(nats), "relay") as made:
        yield made


async def quiet(notifications: NatsNotifications) -> None:
    """Take what came before the test began."""
    while await notifications.wait(0.1):
        pass


async def test_a_wake_up_reaches_every_relay_at_once(
    connection: Connection, elsewhere: Connection
) -> None:
    notifier = NatsNotifier(connection)
    async with NatsNotifications(connection) as near, NatsNotifications(elsewhere) as far:
        await quiet(near)
        await quiet(far)
        waiting = asyncio.gather(near.wait(BUSY_SECONDS), far.wait(BUSY_SECONDS))
        await asyncio.sleep(0)
        notifier.notify()
        assert [set(names) for names in await waiting] == [{ANY}, {ANY}]
        assert not await near.wait(0.05), "it was taken"


async def test_a_wake_up_between_two_waits_is_not_lost(connection: Connection) -> None:
    async with NatsNotifications(connection) as notifications:
        await quiet(notifications)
        NatsNotifier(connection).notify()
        await until(notifications._woken.is_set)
        assert await notifications.wait(0)


async def test_many_wake_ups_become_few(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_GATHER", 1.0)
    heard = 0

    async def hear(_: Msg) -> None:
        nonlocal heard
        heard += 1

    await connection.subscribe(WAKE_SUBJECT, hear)
    notifier = NatsNotifier(connection)
    for _ in range(1000):
        notifier.notify()
    await until(lambda: heard == 1, what="the first wake-up")
    for _ in range(1000):
        notifier.notify()

    async def came() -> bool:
        return heard == 2

    await until(came, what="the last wake-up")
    await until(lambda: notifier._sending is None)
    await connection.client.flush()
    assert heard == 2


async def test_waking_without_nats_neither_waits_nor_fails_and_the_relay_looks_when_it_is_back(
    nats: Nats, connection: Connection, elsewhere: Connection
) -> None:
    notifier = NatsNotifier(connection)
    async with NatsNotifications(elsewhere) as notifications:
        await quiet(notifications)
        nats.stop(kill=True)
        notifier.notify()
        assert not await notifications.wait(0.2)
        restart(nats)
        assert await notifications.wait(BUSY_SECONDS), "what was missed meanwhile is looked for"
        await connection.wait_up(BUSY_SECONDS)
        await quiet(notifications)
        notifier.notify()
        assert await notifications.wait(BUSY_SECONDS)


async def test_wakes_may_begin_while_nats_is_away(nats: Nats, connection: Connection) -> None:
    nats.stop(kill=True)

    async def down() -> bool:
        return not connection.is_up

    await until(down, what="the loss of the connection")
    async with NatsNotifications(connection) as notifications:
        restart(nats)
        assert await notifications.wait(BUSY_SECONDS)
        await quiet(notifications)
        NatsNotifier(connection).notify()
        assert await notifications.wait(BUSY_SECONDS)


async def test_the_subscription_survives_a_connection_that_the_server_closed_for_good(
    connection: Connection, elsewhere: Connection
) -> None:
    async with NatsNotifications(elsewhere) as notifications:
        await quiet(notifications)
        before = elsewhere.client
        await before.close()  # as nats-py does after a protocol error

        async def renewed() -> bool:
            return elsewhere.client is not before and elsewhere.is_up

        await until(renewed, what="a new client")
        assert await notifications.wait(BUSY_SECONDS)
        await quiet(notifications)
        NatsNotifier(connection).notify()
        assert await notifications.wait(BUSY_SECONDS)


async def test_a_silent_server_does_not_hold_the_waker_up(
    nats: Nats, connection: Connection
) -> None:
    assert nats.process is not None
    nats.process.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        NatsNotifier(connection).notify()
        await asyncio.sleep(0.05)
        assert time.monotonic() - began < BUSY_SECONDS, "the server stands still for ever"
    finally:
        nats.process.send_signal(signal.SIGCONT)


async def test_the_destinations_named_meanwhile_come_together(connection: Connection) -> None:
    async with NatsNotifications(connection) as notifications:
        await quiet(notifications)
        notifier = NatsNotifier(connection)
        notifier.notify(["a.test"])
        notifier.notify({"b.test", "a.test"})
        found: set[str] = set()
        while found != {"a.test", "b.test"}:
            names = await notifications.wait(BUSY_SECONDS)
            assert names, "a name was lost"
            found.update(names)
        notifier.notify([f"d{number}.test" for number in range(5000)])
        assert set(await notifications.wait(BUSY_SECONDS)) == {ANY}, "too many to be named"
