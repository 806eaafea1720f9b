"""Wake-ups over plain NATS: nothing is stored, a lost one costs a short poll."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Self

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from posthorn.adapters.nats.connection import Connection
from posthorn.model.streams import WAKE_SUBJECT
from posthorn.ports.faults import Unavailable

_GATHER = 0.01
"""Seconds after a wake-up in which further ones become one."""


class NatsWaker:
    """Waker on NATS. The first wake-up goes at once; those within the next hundredth of a second go as one at its end."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._wanted = False
        self._sending: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """See the port. Call it in the event loop."""
        self._wanted = True
        if self._sending is None:
            self._sending = asyncio.create_task(self._send(), name="wake")

    async def _send(self) -> None:
        try:
            while self._wanted:
                self._wanted = False
                with suppress(Unavailable):
                    await self._connection.publish(WAKE_SUBJECT)
                await asyncio.sleep(_GATHER)
        finally:
            self._sending = None


class NatsWakes:
    """Wakes on NATS; an async context manager. A new connection counts as a wake-up: one may have been missed before it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._woken = asyncio.Event()
        self._client: Client | None = None  # the one that carries the subscription
        self._subscription: Subscription | None = None
        self._subscribing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._connection.on_up(self._take_up)
        with suppress(Unavailable):  # then the hook does it
            await self._subscribe()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._connection.forget(self._take_up)
        if self._subscription is not None:
            with suppress(Exception):  # also while the connection is down, or the library would renew it
                await self._subscription.unsubscribe()

    async def wait(self, timeout: float) -> bool:
        """See the port."""
        try:
            async with asyncio.timeout(timeout):
                await self._woken.wait()
        except TimeoutError:
            return False
        self._woken.clear()
        return True

    async def _take_up(self) -> None:
        await self._subscribe()
        self._woken.set()

    async def _subscribe(self) -> None:
        async with self._subscribing:
            client = self._connection.client
            if self._client is not client:  # the library renews subscriptions of a client that reconnects
                self._subscription = await self._connection.subscribe(WAKE_SUBJECT, self._heard)
                self._client = client

    async def _heard(self, _: Msg) -> None:
        self._woken.set()
