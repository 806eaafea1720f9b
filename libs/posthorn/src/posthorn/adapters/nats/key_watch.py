"""A watch of a key-value bucket: all present keys, then every change.

A watch ends with a lost connection, a gap in its sequence or missed heartbeats; then a new one
begins, which delivers all keys again. Until it has, what was known before stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from posthorn.adapters.nats.bucket import is_removal
from posthorn.adapters.nats.connection import Connection
from posthorn.ports.errors import Unavailable

log = structlog.get_logger()

_HEARTBEAT = 2.0
_SILENCE = 2.5 * _HEARTBEAT
_AGAIN_WAIT = 0.5
_LONGEST_WAIT = 30.0
_SECOND = 1_000_000_000


class KeyWatch:
    """Watches the bucket ``name`` while ``run`` runs.

    ``on_all`` gets the whole content, each time that a watch begins; ``on_change`` a key and its
    value, None when it is deleted. At most ``most`` keys are taken from a beginning.
    """

    def __init__(
        self,
        connection: Connection,
        name: str,
        on_all: Callable[[dict[str, bytes]], None],
        on_change: Callable[[str, bytes | None], None],
        *,
        most: int = 100_000,
    ) -> None:
        self._connection = connection
        self._stream, self._prefix = f"KV_{name}", f"$KV.{name}."
        self._on_all, self._on_change = on_all, on_change
        self._most = most
        self._inbox = ""
        self._broken = asyncio.Event()
        self._heard_at = 0.0
        self._sequence = 0
        self._pending = -1  # messages of the beginning; -1: not known yet
        self._beginning: dict[str, bytes] | None = None
        self.is_live = False
        """Whether changes arrive now."""

    async def run(self) -> None:
        """Keep the watch alive until cancelled."""
        self._connection.on_down(self._broken.set)
        wait = _AGAIN_WAIT
        try:
            while True:
                try:
                    await self._watch()
                    wait = _AGAIN_WAIT
                except Unavailable:
                    wait = min(wait * 2, _LONGEST_WAIT)  # no such bucket yet
                except Exception:
                    log.exception("a watch failed; starting a new one", stream=self._stream)
                await asyncio.sleep(wait)
        finally:
            self._connection.forget(self._broken.set)
            self.is_live = False

    async def _watch(self) -> None:
        await self._connection.wait_up(60)
        self._broken.clear()
        self._sequence, self._beginning, self._pending = 0, {}, -1
        subscription: Subscription | None = None
        name = ""
        loop = asyncio.get_running_loop()
        try:
            inbox = self._inbox = self._connection.client.new_inbox()

            async def on_message(message: Msg) -> None:
                # not of an earlier watch, whose consumer may outlive a short interruption
                if self._inbox == inbox:
                    await self._on_message(message)

            subscription = await self._connection.subscribe(inbox, on_message)
            config = {
                "deliver_subject": inbox,
                "deliver_policy": "last_per_subject",
                "filter_subject": f"{self._prefix}>",
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
            self._pending = int(made["num_pending"]) + int(made["delivered"]["consumer_seq"])
            self._begin_when_whole()
            self._heard_at = loop.time()
            self.is_live = not self._broken.is_set()
            while not self._broken.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(_HEARTBEAT / 2):
                        await self._broken.wait()
                if loop.time() - self._heard_at > _SILENCE:
                    log.warning("a watch is silent; starting a new one", stream=self._stream)
                    break
        finally:
            self.is_live = False
            self._inbox, self._beginning = "", None
            if subscription is not None:
                # also while the connection is down, or the library would renew it
                with suppress(Exception):
                    await subscription.unsubscribe()
            if name and self._connection.is_up:
                with suppress(Unavailable):
                    await self._connection.publish(f"$JS.API.CONSUMER.DELETE.{self._stream}.{name}")

    async def _on_message(self, message: Msg) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        headers = message.headers or {}
        if headers.get("Status") == "100":
            if int(headers.get("Nats-Last-Consumer", "0")) > self._sequence:
                self._broken.set()  # a message was lost
            # flow control waits for a reply
            if asked := message.reply or headers.get("Nats-Consumer-Stalled"):
                with suppress(Unavailable):
                    await self._connection.publish(asked)
            return
        self._sequence += 1
        if not message.reply or message.metadata.sequence.consumer != self._sequence:
            self._broken.set()
            return
        key = message.subject.removeprefix(self._prefix)
        value = None if is_removal(message) else message.data
        if self._beginning is None:
            self._on_change(key, value)
            return
        if value is None:
            self._beginning.pop(key, None)
        elif len(self._beginning) < self._most:
            self._beginning[key] = value
        self._begin_when_whole()

    def _begin_when_whole(self) -> None:
        """Hand over the whole content once it has arrived."""
        if self._beginning is not None and 0 <= self._pending <= self._sequence:
            content, self._beginning = self._beginning, None
            self._on_all(content)
