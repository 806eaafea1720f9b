"""Hand-overs over core NATS: nothing is stored; what is lost is released by the relay
(``ports.hand_over``).

A hand-over is one line of JSON, and after it the body.
"""

from __future__ import annotations

import json
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import Self
from uuid import UUID

import structlog
from nats.aio.msg import Msg

from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.following import Following
from posthorn.model.streams import RELAY_HANDED, RELAY_OFFERS
from posthorn.ports.errors import Unavailable
from posthorn.ports.hand_over import FRESH_SECONDS, Handed, LiveRelay

log = structlog.get_logger()

_MOST_RELAYS = 1000


class _Listener(ABC):
    """Takes the messages of a subject; an async context manager."""

    def __init__(self, connection: Connection, subject: str) -> None:
        self._connection = connection
        self._following = Following(connection, {subject: self._heard})

    async def __aenter__(self) -> Self:
        await self._following.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._following.stop()

    async def _heard(self, message: Msg) -> None:
        try:
            self._take(message.data)
        except (ValueError, KeyError, TypeError):
            log.warning("a malformed message was ignored", subject=message.subject)

    @abstractmethod
    def _take(self, payload: bytes) -> None:
        """Take a message. Raises ValueError, KeyError or TypeError for one that is malformed."""


class NatsLiveRelays(_Listener):
    """The port LiveRelays."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, RELAY_OFFERS)
        self._offers: dict[UUID, tuple[float, LiveRelay]] = {}

    def pick(self) -> LiveRelay | None:
        oldest = time.monotonic() - FRESH_SECONDS
        fresh = [relay for at, relay in self._offers.values() if at > oldest]
        return random.choice(fresh) if fresh else None  # noqa: S311 - spreads load, keeps no secret

    async def hand(self, handed: Handed) -> None:
        with suppress(Unavailable):
            await self._connection.publish(RELAY_HANDED, encode_handed(handed))

    def _take(self, payload: bytes) -> None:
        offer = json.loads(payload)
        per_minute = offer["per_minute"]
        relay = LiveRelay(
            UUID(offer["relay"]),
            int(offer["connections"]),
            None if per_minute is None else int(per_minute),
        )
        self._offers.pop(relay.id, None)
        if relay.connections > 0:
            self._offers[relay.id] = (time.monotonic(), relay)
            if len(self._offers) > _MOST_RELAYS:
                del self._offers[next(iter(self._offers))]


class NatsOffers(_Listener):
    """The port Offers."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, RELAY_HANDED)
        self._on_handed: Callable[[Handed], None] | None = None

    async def offer(self, relay: LiveRelay) -> None:
        document = {
            "relay": str(relay.id),
            "connections": relay.connections,
            "per_minute": relay.per_minute,
        }
        with suppress(Unavailable):
            await self._connection.publish(RELAY_OFFERS, json.dumps(document).encode())

    def listen(self, on_handed: Callable[[Handed], None]) -> None:
        self._on_handed = on_handed

    def _take(self, payload: bytes) -> None:
        if self._on_handed is not None:
            self._on_handed(decode_handed(payload))


def encode_handed(handed: Handed) -> bytes:
    """Return a hand-over as a message has it."""
    document = {
        "relay": str(handed.relay),
        "destination": handed.destination,
        "slot": str(handed.slot),
        "jobs": list(handed.jobs),
        "message": str(handed.message),
    }
    return json.dumps(document).encode() + b"\n" + handed.body


def decode_handed(payload: bytes) -> Handed:
    """Return the hand-over of a message. Raises ValueError, KeyError or TypeError for one that is
    none."""
    line, _, body = payload.partition(b"\n")
    document = json.loads(line)
    return Handed(
        UUID(document["relay"]),
        str(document["destination"]),
        UUID(document["slot"]),
        [int(job) for job in document["jobs"]],
        UUID(document["message"]),
        body,
    )
