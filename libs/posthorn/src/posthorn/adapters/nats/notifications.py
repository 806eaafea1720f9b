"""Notifications over core NATS: nothing is stored; a lost one costs one poll interval."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from typing import Self

from nats.aio.msg import Msg

from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.following import Following
from posthorn.model.streams import WAKE_SUBJECT
from posthorn.ports.errors import Unavailable
from posthorn.ports.notifications import ANY

_GATHER = 0.01
"""Seconds after a notification in which further ones are combined."""
_MOST_NAMES = 100
"""Most destinations named in one notification; beyond that it means any destination."""


class NatsNotifier:
    """Notifier on NATS. The first notification is sent at once; those within the next hundredth
    of a second as one at its end."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._names: set[str] = set()
        self._sending: asyncio.Task[None] | None = None

    def notify(self, destinations: Collection[str] = (ANY,)) -> None:
        """Call it in the event loop."""
        self._names.update(destinations)
        if self._sending is None:
            self._sending = asyncio.create_task(self._send(), name="wake")

    async def _send(self) -> None:
        try:
            while self._names:
                names = self._names if len(self._names) <= _MOST_NAMES else {ANY}
                self._names = set()
                with suppress(Unavailable):
                    await self._connection.publish(WAKE_SUBJECT, "\n".join(names).encode())
                await asyncio.sleep(_GATHER)
        finally:
            self._sending = None


class NatsNotifications:
    """Notifications on NATS; an async context manager. A new connection counts as a
    notification: one may have been missed before it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._woken = asyncio.Event()
        self._names: set[str] = set()
        self._following = Following(connection, {WAKE_SUBJECT: self._heard})

    async def __aenter__(self) -> Self:
        self._connection.on_up(self._take_up)
        await self._following.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._connection.forget(self._take_up)
        await self._following.stop()

    async def wait(self, timeout: float) -> Collection[str]:
        try:
            async with asyncio.timeout(timeout):
                await self._woken.wait()
        except TimeoutError:
            return ()
        self._woken.clear()
        names, self._names = self._names, set()
        return names

    async def _take_up(self) -> None:
        await self._following.subscribe()
        self._note(ANY)

    async def _heard(self, message: Msg) -> None:
        self._note(*message.data.decode(errors="replace").splitlines() or (ANY,))

    def _note(self, *names: str) -> None:
        self._names.update(names)
        if len(self._names) > _MOST_NAMES:
            self._names = {ANY}
        self._woken.set()
