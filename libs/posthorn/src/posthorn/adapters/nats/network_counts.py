"""Counters of client networks, and the greylist, on JetStream in memory."""

from __future__ import annotations

import json

from posthorn.adapters.nats.acks import read_ack
from posthorn.adapters.nats.bans import key_of
from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.errors import ApiError
from posthorn.adapters.nats.layout import GREYLIST_PREFIX, GREYLIST_STREAM
from posthorn.model.streams import COUNTERS, COUNTERS_PREFIX
from posthorn.ports.errors import Unavailable

_WRONG_SEQUENCE = frozenset({10071, 10164})  # wrong last sequence of the subject


class NatsCounts:
    """NetworkCounts on a stream of counters (NATS server 2.12 or later)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, kind: str, window: int, network: str, count: int) -> int:
        answer = await self._connection.request(
            f"{COUNTERS_PREFIX}{window}.{kind}.{key_of(network)}", b"", {"Nats-Incr": f"+{count}"}
        )
        read_ack(answer, COUNTERS)
        try:
            return int(json.loads(answer.data)["val"])
        except (ValueError, KeyError, TypeError) as error:
            raise Unavailable("nats", "the server has no counters") from error


class NatsGreylist:
    """GreylistStore on a key-value bucket."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def first_seen(self, key: str, now: float, seconds: float) -> float:
        try:
            await self._store(key, now, seconds, {"Nats-Expected-Last-Subject-Sequence": "0"})
        except ApiError as refusal:
            if refusal.err_code not in _WRONG_SEQUENCE:
                raise
        else:
            return now
        found = await self._connection.request(
            f"$JS.API.DIRECT.GET.{GREYLIST_STREAM}.{GREYLIST_PREFIX}{key}"
        )
        if "Nats-Sequence" not in (found.headers or {}):
            raise Unavailable("nats", "the greylist's entry is gone")
        try:
            return float(found.data)
        except ValueError as error:
            raise Unavailable("nats", "the greylist's entry does not read") from error

    async def known(self, key: str, since: float, seconds: float) -> None:
        await self._store(key, since, seconds, {})

    async def _store(self, key: str, since: float, seconds: float, headers: dict[str, str]) -> None:
        answer = await self._connection.request(
            f"{GREYLIST_PREFIX}{key}",
            f"{since:.3f}".encode(),
            {"Nats-TTL": f"{max(1, round(seconds))}s", **headers},
        )
        read_ack(answer, GREYLIST_STREAM)
