"""The consuming side of INGEST: takes all waiting messages at once, of all partitions.

Rules:

- Each lane of a stream has a consumer of its own (``ingest_lane``). The first lane and that of
  frames are one source, since both hold first deliveries.
- All partitions that exist are read, whatever the settings of this process say (ADR 48). They are
  looked for at the start and every few seconds.
- Sequence numbers tell whether others take from the stream as well. Then each process leaves to the
  others what arrives, and collects at its turn all that waits (ADR 52), so that as many messages
  share a transaction as with one process.
- The partitions share one limit of what is buffered. Each comes first in turn when messages are
  taken, so that one with a long backlog keeps no other waiting.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

import structlog

from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.framed import FramedDelivery
from posthorn.adapters.nats.ingest_backlog import measure_backlog
from posthorn.adapters.nats.ingest_lane import Lane, NatsDelivery, Share
from posthorn.adapters.nats.ingest_turns import Turns
from posthorn.adapters.nats.partitions import list_partitions
from posthorn.model.streams import FRAMES_CONSUMER, INGEST_CONSUMER
from posthorn.ports.errors import Unavailable
from posthorn.ports.ingest import Backlog

log = structlog.get_logger()

BUFFER_MESSAGES = 512
BUFFER_OCTETS = 16 * 1024**2
LOOK_SECONDS = 3.0
"""From one search for further partitions to the next."""
_SHARED_SECONDS = 30.0
"""After which requests are long-lived again unless anything was left to others."""
_COLLECT_SECONDS = 0.25
"""Longest wait for all that the stream holds; what comes later is taken with what follows."""
_LEAST_OCTETS = 4 * 1024**2  # half of the buffer must have room for the largest message


class NatsIngestSource:
    """IngestSource on JetStream. An async context manager: leaving it returns untaken messages to
    the stream.

    ``consumer``: that of the lane; that of the first lane stands for the frames as well. The
    buffers of a lane hold about ``messages`` messages and ``max_bytes`` bytes in all partitions
    together.
    """

    def __init__(
        self,
        connection: Connection,
        consumer: str = INGEST_CONSUMER,
        *,
        messages: int = BUFFER_MESSAGES,
        max_bytes: int = BUFFER_OCTETS,
    ) -> None:
        self._connection = connection
        self._consumers = (
            (consumer, FRAMES_CONSUMER) if consumer == INGEST_CONSUMER else (consumer,)
        )
        self._something = asyncio.Event()
        self._share = Share(messages, max(max_bytes, _LEAST_OCTETS))
        self._lanes = self._lanes_of(0)
        self._finder: asyncio.Task[None] | None = None
        self._turns = Turns()
        self._shared_at = 0.0
        self._turn_at: float | None = None
        """When what arrives is no longer left to others; None: it is not."""
        self._is_paused = False
        """Whether the lanes request nothing by themselves."""
        self._takes_one = False
        """Whether they request one stream message at a time."""
        self._found_nothing = False

    async def __aenter__(self) -> Self:
        for lane in self._lanes:
            await lane.open()
        self._finder = asyncio.create_task(self._find(), name="ingest partitions")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        if self._finder is not None:
            self._finder.cancel()
            with suppress(asyncio.CancelledError):
                await self._finder
        await asyncio.gather(*(lane.stop() for lane in self._lanes))

    async def take(self, most: int, max_bytes: int) -> Sequence[NatsDelivery | FramedDelivery]:
        if self._is_paused and self._turn_at is None:
            await self._resume(one=False)
        while True:
            if self._turn_at is not None:  # it stays, should this be cancelled, or raise
                await self._await_turn(self._turn_at)
                await self._collect()
            # no await after the first message was taken, so that a cancelled take takes nothing
            if taken := self._take_buffered(most, max_bytes):
                return taken
            if not self._connection.is_up:
                raise Unavailable("nats", "not connected")
            if self._is_paused and not self._found_nothing:
                # others have just taken what there was: their turns come before the next one here
                self._found_nothing = True
                self._turn_at = time.monotonic() + self._turns.seconds
                continue
            if self._is_paused:
                await self._resume(one=True)
            self._something.clear()
            await self._something.wait()

    def _take_buffered(self, most: int, max_bytes: int) -> list[NatsDelivery | FramedDelivery]:
        taken: list[NatsDelivery | FramedDelivery] = []
        for lane in self._lanes:
            taken += lane.take(
                most - len(taken), max_bytes - sum(len(each.octets) for each in taken), bool(taken)
            )
        if taken:
            self._lanes.append(self._lanes.pop(0))  # each lane comes first in turn
            self._turns.taken()
            self._found_nothing = False
            if self._takes_one:  # not the next one before this one is stored
                self._pause(pauses=True)
        return taken

    def leave_to_others(self, spacing: float) -> None:
        turn_at = self._turns.next(
            sum(lane.here for lane in self._lanes),
            sum(lane.everywhere for lane in self._lanes),
            spacing,
        )
        for lane in self._lanes:
            lane.forget_counts()
        self._pause(pauses=turn_at is not None)
        self._turn_at = turn_at
        if turn_at is not None:
            self._shared_at = time.monotonic()

    async def _await_turn(self, turn_at: float) -> None:
        """Wait until then, or until something comes that was requested before."""
        with suppress(TimeoutError):
            async with asyncio.timeout(turn_at - time.monotonic()):
                while not any(lane.is_holding for lane in self._lanes):
                    self._something.clear()
                    await self._something.wait()
                self._turns.interrupted()

    async def _collect(self) -> None:
        """Fetch what the stream holds. Raises Unavailable."""
        for lane in self._lanes:
            await lane.collect()
        self._turn_at = None
        with suppress(TimeoutError):
            async with asyncio.timeout(_COLLECT_SECONDS):
                while any(lane.is_collecting for lane in self._lanes):
                    self._something.clear()
                    await self._something.wait()

    def _pause(self, *, pauses: bool) -> None:
        self._is_paused, self._takes_one = pauses, False
        for lane in self._lanes:
            lane.pause(pauses=pauses)

    async def _resume(self, *, one: bool) -> None:
        """Request what comes, in all lanes, or the next stream message. Raises Unavailable; they
        request it by themselves then, once they can."""
        self._is_paused, self._takes_one = False, one
        for lane in self._lanes:
            lane.resume(one=one)
        for lane in self._lanes:
            await lane.pull()

    async def probe(self) -> None:
        """Check whether the consumers serve. Raises Unavailable."""
        await asyncio.gather(*(lane.probe() for lane in self._lanes))

    async def backlog(self) -> Backlog:
        return await measure_backlog(self._connection)

    def _lanes_of(self, partition: int) -> list[Lane]:
        return [
            Lane(self._connection, partition, name, self._something, self._share)
            for name in self._consumers
        ]

    async def _find(self) -> None:
        """Read each partition from when it is found until it is gone."""
        while True:
            try:
                await self._look()
            except Unavailable as fault:
                log.info("partitions of INGEST cannot be looked for", fault=fault)
            except Exception:
                log.exception("partitions of INGEST cannot be looked for")
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        found = await list_partitions(self._connection)
        known = {lane.partition for lane in self._lanes}
        self._share.partitions = len(found)
        if time.monotonic() - self._shared_at > _SHARED_SECONDS:
            for lane in self._lanes:
                lane.is_shared = False
        for partition in found:
            if partition not in known:
                log.info("reading a partition of INGEST", partition=partition)
                lanes = self._lanes_of(partition)
                self._lanes += lanes
                for lane in lanes:
                    await lane.open()
        for lane in [each for each in self._lanes if each.partition not in found]:
            log.warning("a partition of INGEST is gone", partition=lane.partition)
            self._lanes.remove(lane)
            await lane.stop()
