"""Heartbeats over core NATS: nothing is stored, and who is silent is forgotten (ADR 44).

The server lets each part publish under its own name only, so the subject proves the part.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Final, Self

import structlog
from nats.aio.msg import Msg
from prometheus_client import Counter

from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.following import Following
from posthorn.model.heartbeat import (
    HEARTBEAT_SECONDS,
    SILENT_SECONDS,
    Heartbeat,
    HeartbeatError,
    decode_heartbeat,
    encode_heartbeat,
)
from posthorn.model.streams import HEARTBEATS_PREFIX
from posthorn.ports.errors import Unavailable
from posthorn.ports.heartbeats import Instance
from posthorn.runtime.health import Health

log = structlog.get_logger()

FORGET_SECONDS: Final = 300.0
"""How long a silent process is still shown."""
MOST_INSTANCES: Final = 2000
"""Most processes that are kept; further ones are not taken."""
_UNREADY_SECONDS: Final = 2.0

_malformed = Counter("posthorn_heartbeats_malformed_total", "Heartbeats that cannot be decoded")


def instance_name() -> str:
    """Return this process's name: the host's, which is the pod's, and the number of the process
    where a host runs several."""
    host, number = socket.gethostname(), os.getpid()
    return host if number == 1 else f"{host}/{number}"


@asynccontextmanager
async def beating(
    connection: Connection, health: Health, part: str, *, seconds: float = HEARTBEAT_SECONDS
) -> AsyncIterator[None]:
    """Send heartbeats inside of the block, and a last one at its end."""
    heart = _Heart(connection, health, f"{HEARTBEATS_PREFIX}{part}", seconds)
    task = asyncio.create_task(heart.run(), name="heartbeats")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        await heart.send(is_last=True)


class _Heart:
    def __init__(
        self, connection: Connection, health: Health, subject: str, seconds: float
    ) -> None:
        self._connection = connection
        self._health = health
        self._subject = subject
        self._seconds = seconds
        self._instance, self._version = instance_name(), version("posthorn")
        self._is_denied = False

    async def run(self) -> None:
        """Send until cancelled; sooner while the process is not ready. A server that refuses them,
        configured for an earlier release, gets no more on this connection."""
        self._connection.on_denied(self._denied)
        self._connection.on_up(self._allowed)
        while True:
            ready = False
            try:
                ready = await self.send()
            except Exception:
                log.exception("a heartbeat failed")
            await asyncio.sleep(self._seconds if ready else min(_UNREADY_SECONDS, self._seconds))

    async def send(self, *, is_last: bool = False) -> bool:
        """Send one; return whether the process is ready."""
        ready, states = (False, {}) if is_last else await self._health.readiness()
        certificate = self._health.certificate
        beat = Heartbeat(
            self._instance,
            self._version,
            self._health.since,
            ready,
            self._health.draining,
            {part: state for part, state in states.items() if state != "ok"},
            None if certificate is None else certificate.ends_at,
            is_last,
        )
        if not self._is_denied:
            with suppress(Unavailable):
                await self._connection.publish(self._subject, encode_heartbeat(beat))
        return ready

    async def _denied(self, subject: str) -> None:
        if subject == self._subject:
            self._is_denied = True

    async def _allowed(self) -> None:
        self._is_denied = False


class NatsHeartbeats:
    """The port Heartbeats; an async context manager that listens."""

    def __init__(self, connection: Connection, clock: Callable[[], float] = time.time) -> None:
        self._connection = connection
        self._clock = clock
        self._heard: dict[tuple[str, str], tuple[Heartbeat, float]] = {}
        self._since: float | None = None
        self._following = Following(connection, {f"{HEARTBEATS_PREFIX}*": self._on_beat})

    async def __aenter__(self) -> Self:
        self._connection.on_up(self._begin)
        self._connection.on_down(self._end)
        await self._following.start()
        if self._connection.is_up:
            await self._begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._connection.forget(self._begin)
        self._connection.forget(self._end)
        await self._following.stop()

    @property
    def listening_since(self) -> datetime | None:
        """See the port."""
        return None if self._since is None else datetime.fromtimestamp(self._since, UTC)

    def instances(self) -> Sequence[Instance]:
        """See the port."""
        now = self._clock()
        self._forget(now)
        return [
            Instance(
                part, beat, datetime.fromtimestamp(at, UTC), self._silence(at, now) > SILENT_SECONDS
            )
            for (part, _), (beat, at) in sorted(self._heard.items())
        ]

    async def _on_beat(self, message: Msg) -> None:
        self.take(message.subject, message.data)

    def take(self, subject: str, payload: bytes) -> None:
        """Take what was heard under a subject."""
        try:
            beat = decode_heartbeat(payload)
        except HeartbeatError:
            _malformed.inc()
            return
        key = subject.removeprefix(HEARTBEATS_PREFIX), beat.instance
        if beat.is_last:
            self._heard.pop(key, None)
        else:
            if key not in self._heard and len(self._heard) >= MOST_INSTANCES:
                self._forget(self._clock())
            if key in self._heard or len(self._heard) < MOST_INSTANCES:
                self._heard[key] = beat, self._clock()

    def _forget(self, now: float) -> None:
        for key, (_, at) in list(self._heard.items()):
            if self._silence(at, now) > FORGET_SECONDS:
                del self._heard[key]

    def _silence(self, at: float, now: float) -> float:
        """Return for how long a process has been silent; nothing could be heard before the
        connection was there."""
        return now - max(at, self._since or at)

    async def _begin(self) -> None:
        self._since = self._clock()

    def _end(self) -> None:
        self._since = None
