"""Subscriptions that follow the connection: a failed one is tried again at the next connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.following import Following
from posthorn.ports.errors import Unavailable


class _Connection:
    """A connection whose subscriptions fail on command, which no server does reliably."""

    is_up = False

    def __init__(self) -> None:
        self.client = object()
        self.fails = False
        self.hooks: list[Callable[[], Awaitable[None]]] = []
        self.subscribed: list[str] = []

    def on_up(self, hook: Callable[[], Awaitable[None]]) -> None:
        self.hooks.append(hook)

    def forget(self, hook: Callable[[], Awaitable[None]]) -> None:
        self.hooks.remove(hook)

    async def subscribe(self, subject: str, on_message: object, queue: str = "") -> Any:
        if self.fails:
            raise Unavailable("nats", "not connected")
        self.subscribed.append(f"{queue}:{subject}")


async def _take(_: object) -> None:
    """Ignore a message."""


async def test_a_failed_subscription_is_tried_again_and_a_new_client_gets_its_own() -> None:
    connection = _Connection()
    following = Following(
        cast(Connection, connection), {"some.subject": _take, "other": _take}, queue="group"
    )
    connection.fails = True
    await following.start()
    assert (following.is_open, connection.subscribed) == (False, [])
    (hook,) = connection.hooks
    with pytest.raises(Unavailable):
        await hook()
    connection.fails = False
    await hook()
    await hook()  # the library renews those of a client that reconnects
    both = ["group:some.subject", "group:other"]
    assert (following.is_open, connection.subscribed) == (True, both)
    connection.client = object()
    assert (following.is_open, connection.subscribed) == (False, both)
    await hook()
    assert (following.is_open, connection.subscribed) == (True, both * 2)
    await following.stop()
    assert connection.hooks == []
