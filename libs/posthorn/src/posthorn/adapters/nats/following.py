"""Subscriptions on core NATS that follow the connection: made again on a client that replaces
another. The library itself renews those of a client that reconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from posthorn.adapters.nats.client import FAULTS
from posthorn.adapters.nats.connection import Connection
from posthorn.ports.errors import Unavailable

_DRAIN_SECONDS = 2

type OnMessage = Callable[[Msg], Awaitable[None]]


class Following:
    """Subscriptions to subjects, each with a function that takes its messages; as a member of a
    queue group if one is named."""

    def __init__(
        self, connection: Connection, subjects: dict[str, OnMessage], *, queue: str = ""
    ) -> None:
        self._connection = connection
        self._subjects = subjects
        self._queue = queue
        self._client: Client | None = None  # the client that holds the subscriptions
        self._subscriptions: list[Subscription] = []
        self._subscribing = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        """Whether the present client holds the subscriptions."""
        return self._client is self._connection.client

    async def start(self) -> None:
        """Subscribe, now or as soon as there is a connection. Where there is one, the server knows
        of the subscriptions afterwards."""
        self._connection.on_up(self.subscribe)
        with suppress(Unavailable):  # the hook does it after the connect
            await self.subscribe()
        if self._connection.is_up:
            with suppress(*FAULTS):
                await self._connection.client.flush()  # the library's first ping may overtake
                await self._connection.client.flush()

    async def subscribe(self) -> None:
        """Subscribe, unless the present client holds the subscriptions. Raises Unavailable."""
        async with self._subscribing:
            client = self._connection.client
            if self._client is not client:
                self._subscriptions = [
                    await self._connection.subscribe(subject, on_message, self._queue)
                    for subject, on_message in self._subjects.items()
                ]
                self._client = client

    async def stop(self, *, drains: bool = False) -> None:
        """Unsubscribe, also while the connection is down, or the library would renew them.
        ``drains``: what has arrived is still handed over."""
        self._connection.forget(self.subscribe)
        for subscription in self._subscriptions:
            with suppress(Exception):
                if drains:
                    async with asyncio.timeout(_DRAIN_SECONDS):
                        await subscription.drain()  # type: ignore[no-untyped-call]
                else:
                    await subscription.unsubscribe()
