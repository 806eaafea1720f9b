"""Partitions of INGEST (ADR 48): streams of their own names, each with all lanes and consumers.

Rules:

- The first partition is the stream INGEST, with the subjects that it always had. The others are
  INGEST_1, INGEST_2, …; their subjects are those of the first one behind ``partition.<number>.``.
- Publishers write to as many as their settings say. Whoever reads INGEST reads all that exist, so
  that the number may be lowered, and may differ from process to process during a rollout.
- Delivery alone creates them, since publishers use a partition as soon as it exists. Nothing
  deletes one: an empty stream costs its readers an open request for each lane.
- What is published again (the retry lane, the unscanned lane) stays in its partition, since each
  stream recognises only its own duplicates. What returns from DEAD goes to the first one.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import structlog

from posthorn.adapters.nats.errors import Denied
from posthorn.model.streams import PARTITIONS_PREFIX, partition_of_stream
from posthorn.ports.errors import Unavailable

log = structlog.get_logger()

_DENIED_SECONDS = 60.0
_denied_until: WeakKeyDictionary[JetStreamApi, float] = WeakKeyDictionary()
"""By connection: until when the question is not put again, which the server logs."""


class JetStreamApi(Protocol):
    """The part of the connection that JetStream's administration needs."""

    async def api(self, operation: str, document: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a JetStream API request such as ``STREAM.INFO.x``. Raises ApiError when the
        server refuses, else Unavailable."""
        ...


async def of_each_partition[T](
    jetstream: JetStreamApi, ask: Callable[[int], Awaitable[T]]
) -> list[T]:
    """Return what ``ask`` returns for each partition that exists, one after the other; those that
    do not answer are left out. Raises Unavailable when none answers."""
    found: list[T] = []
    fault: Unavailable | None = None
    for partition in await list_partitions(jetstream):
        try:
            found.append(await ask(partition))
        except Unavailable as error:
            log.warning("a partition does not answer", partition=partition, fault=error)
            fault = error
    if fault is not None and not found:
        raise fault
    return found


async def list_partitions(jetstream: JetStreamApi) -> tuple[int, ...]:
    """Return the partitions that exist, the first one always among them. Raises Unavailable.

    A server whose users are those of a release without partitions has only the first one.
    """
    if time.monotonic() < _denied_until.get(jetstream, 0.0):
        return (0,)
    try:
        found = await jetstream.api("STREAM.NAMES", {"subject": f"{PARTITIONS_PREFIX}>"})
    except Denied:
        _denied_until[jetstream] = time.monotonic() + _DENIED_SECONDS
        return (0,)
    numbers = map(partition_of_stream, found.get("streams") or ())
    return (0, *sorted(number for number in numbers if number))
