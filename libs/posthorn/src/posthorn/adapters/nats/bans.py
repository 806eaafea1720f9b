"""Bans of client networks: a key-value bucket that scan writes and every smtp-in watches.

The key is the network, its value when the ban ends and how often there was one. The entry outlives
the ban for a while, so that the next one lasts longer; then the stream deletes it (``Nats-TTL``).
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Final, Self

from posthorn.adapters.nats.acks import read_ack
from posthorn.adapters.nats.bucket import is_removal
from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.key_watch import KeyWatch
from posthorn.adapters.nats.layout import BANS_PREFIX, BANS_STREAM
from posthorn.model.streams import BANS
from posthorn.ports.bans import Ban
from posthorn.ports.errors import Unavailable
from posthorn.runtime.client_networks import client_networks
from posthorn.runtime.tasks import cancel_and_wait

MOST_BANS: Final = 100_000
"""Bans that a process knows at a time."""


class NatsBans:
    """The port Bans. An async context manager that watches the bucket."""

    def __init__(self, connection: Connection) -> None:
        self._until: dict[str, float] = {}
        self._watch = KeyWatch(connection, BANS, self._take_all, self._change, most=MOST_BANS)
        self._watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._watching = asyncio.create_task(self._watch.run(), name="bans watch")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._watching is not None:
            await cancel_and_wait(self._watching)

    @property
    def is_live(self) -> bool:
        """Whether changes arrive now."""
        return self._watch.is_live

    def __len__(self) -> int:
        return len(self._until)

    def until(self, client: str) -> float:
        if not self._until:
            return 0.0
        found = max((self._until.get(each, 0.0) for each in client_networks(client)), default=0.0)
        return found if found > time.time() else 0.0

    def _take_all(self, content: dict[str, bytes]) -> None:
        self._until = {}
        for key, value in content.items():
            self._change(key, value)

    def _change(self, key: str, value: bytes | None) -> None:
        network, ban = network_of(key), None if value is None else decode_ban(value)
        if ban is None:
            self._until.pop(network, None)
            return
        if len(self._until) >= MOST_BANS:
            now = time.time()
            self._until = {each: until for each, until in self._until.items() if until > now}
        if ban.until > time.time() and len(self._until) < MOST_BANS:
            self._until[network] = ban.until
        else:
            self._until.pop(network, None)


class NatsBanList:
    """The port BanList on the bucket."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def last(self, network: str) -> Ban | None:
        subject = f"{BANS_PREFIX}{key_of(network)}"
        message = await self._connection.request(f"$JS.API.DIRECT.GET.{BANS_STREAM}.{subject}")
        headers = message.headers or {}
        if "Nats-Sequence" in headers:
            return None if is_removal(message) else decode_ban(message.data)
        if headers.get("Status") == "404":
            return None
        raise Unavailable("nats", "the bucket of bans gave an invalid answer")

    async def ban(self, network: str, ban: Ban, remember_seconds: float) -> None:
        document = {"until": ban.until, "times": ban.times, "kind": ban.kind}
        answer = await self._connection.request(
            f"{BANS_PREFIX}{key_of(network)}",
            json.dumps(document).encode(),
            {"Nats-TTL": f"{max(1, round(remember_seconds))}s"},
        )
        read_ack(answer, BANS_STREAM)


def key_of(network: str) -> str:
    """Return a network as key of a bucket: a key may not contain a colon."""
    return network.replace(":", "_")


def network_of(key: str) -> str:
    """Return the network that a key stands for."""
    return key.replace("_", ":")


def decode_ban(value: bytes) -> Ban | None:
    """Return the ban that a value holds; None for one that does not read."""
    try:
        document = json.loads(value)
        return Ban(
            float(document["until"]), int(document.get("times", 1)), str(document.get("kind", ""))
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None
