"""Inboxes: subjects of this process on which answers and pulled messages arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Protocol

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription


class Subscriber(Protocol):
    """The part of the connection that an inbox needs."""

    client: Client
    """The library's client; a new object after the server closed the connection."""

    async def subscribe(
        self, subject: str, on_message: Callable[[Msg], Awaitable[None]]
    ) -> Subscription:
        """Subscribe on the present client. Raises Unavailable."""
        ...


class Inbox:
    """One subscription for any number of answers, distinguished by a token at the end of the
    subject.

    The library renews it after a reconnect; ``open`` creates a new one when the client was
    replaced.
    """

    def __init__(
        self, connection: Subscriber, on_message: Callable[[Msg], Awaitable[None]]
    ) -> None:
        self.prefix = ""
        """Prefix of the subjects, to which a token is appended. Empty before the first ``open``."""
        self.subscription: Subscription | None = None
        self._connection = connection
        self._on_message = on_message
        self._client: Client | None = None
        self._opening = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        """Whether the present client holds the subscription."""
        return self._client is self._connection.client

    async def open(self) -> None:
        """Subscribe, unless the present client holds the subscription. Raises Unavailable."""
        if self.is_open:
            return
        async with self._opening:
            client = self._connection.client
            if self._client is not client:
                inbox = client.new_inbox()
                self.subscription = await self._connection.subscribe(f"{inbox}.*", self._on_message)
                self.prefix, self._client = f"{inbox}.", client


def token_of(message: Msg) -> str:
    """Return the token at the end of an answer's subject."""
    return message.subject.rpartition(".")[2]


@asynccontextmanager
async def receiving(connection: Subscriber) -> AsyncGenerator[tuple[str, asyncio.Queue[Msg]]]:
    """Subscribe to an inbox while the context is open; yield its subject and the queue of
    messages. Raises Unavailable."""
    received: asyncio.Queue[Msg] = asyncio.Queue()
    inbox = connection.client.new_inbox()
    subscription = await connection.subscribe(inbox, received.put)
    try:
        yield inbox, received
    finally:
        with suppress(Exception):  # the connection may be lost
            await subscription.unsubscribe()
