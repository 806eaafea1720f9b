"""One watch of a stream by an ordered push consumer.

It ends at the first sign that a message was missed: a lost connection, a gap in the consumer's
sequence, or missed heartbeats. The consumer and its subscriptions go with it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from posthorn.adapters.nats.connection import Connection
from posthorn.ports.errors import Unavailable

_HEARTBEAT = 2.0
_SILENCE = 2.5 * _HEARTBEAT
_SECOND = 1_000_000_000


class Watch:
    """Watches ``stream`` once for each call of ``once``.

    ``choice`` is what the consumer delivers, as in its configuration. ``on_message`` gets each
    message in order; ``on_break`` is called as soon as something was missed, and at the end of each
    watch, before its subscriptions go. ``others``: further subjects for the time of a watch.
    """

    def __init__(
        self,
        connection: Connection,
        stream: str,
        choice: Mapping[str, Any],
        on_message: Callable[[Msg], None],
        on_break: Callable[[], None],
        others: Mapping[str, Callable[[Msg], Awaitable[None]]] | None = None,
    ) -> None:
        self._connection = connection
        self._stream, self._choice = stream, choice
        self._on_message, self._on_break = on_message, on_break
        self._others = others or {}
        self._inbox = ""
        self._broken = asyncio.Event()
        self._heard_at = 0.0
        self.sequence = 0
        """Messages of the present watch so far."""

    @property
    def is_broken(self) -> bool:
        """Whether the present watch ends."""
        return self._broken.is_set()

    def end(self) -> None:
        """End the present watch."""
        self._broken.set()

    async def once(self, began: Callable[[Mapping[str, Any]], Awaitable[None]]) -> bool:
        """Watch until the watch breaks; return whether it fell silent.

        ``began`` is awaited with the server's answer when the consumer exists. Raises Unavailable.
        """
        await self._connection.wait_up(60)
        self._broken.clear()
        self.sequence = 0
        subscriptions: list[Subscription] = []
        name = ""
        try:
            inbox = self._inbox = self._connection.client.new_inbox()

            async def on_message(message: Msg) -> None:
                # not of an earlier watch, whose consumer may outlive a short interruption
                if self._inbox == inbox:
                    await self._take(message)

            subscriptions.append(await self._connection.subscribe(inbox, on_message))
            for subject, on_other in self._others.items():
                subscriptions.append(await self._connection.subscribe(subject, on_other))
            config = {
                **self._choice,
                "deliver_subject": inbox,
                "ack_policy": "none",
                "idle_heartbeat": round(_HEARTBEAT * _SECOND),
                "flow_control": True,
                "mem_storage": True,
                "num_replicas": 1,
                "inactive_threshold": 30 * _SECOND,
            }
            made = await self._connection.api(
                f"CONSUMER.CREATE.{self._stream}", {"stream_name": self._stream, "config": config}
            )
            name = made["name"]
            await began(made)
            self._heard_at = time.monotonic()
            while not self._broken.is_set():
                left = self._heard_at + _SILENCE - time.monotonic()
                if left <= 0:
                    return True
                with suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await self._broken.wait()
            return False
        finally:
            self._on_break()
            self._inbox = ""
            for subscription in subscriptions:
                # also while the connection is down, or the library would renew it
                with suppress(Exception):
                    await subscription.unsubscribe()
            if name and self._connection.is_up:
                with suppress(Unavailable):
                    await self._connection.publish(f"$JS.API.CONSUMER.DELETE.{self._stream}.{name}")

    async def _take(self, message: Msg) -> None:
        self._heard_at = time.monotonic()
        headers = message.headers or {}
        if headers.get("Status") == "100":
            if int(headers.get("Nats-Last-Consumer", "0")) > self.sequence:
                self._break()  # a message was lost
            # flow control waits for a reply
            if asked := message.reply or headers.get("Nats-Consumer-Stalled"):
                with suppress(Unavailable):
                    await self._connection.publish(asked)
            return
        self.sequence += 1
        if not message.reply or message.metadata.sequence.consumer != self.sequence:
            self._break()
            return
        self._on_message(message)

    def _break(self) -> None:
        self._broken.set()
        self._on_break()
