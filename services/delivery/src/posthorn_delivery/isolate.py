"""Isolation: handles messages that cannot be delivered, so that one bad message or a failing part
holds up no other.

Rules:

- A fault of a part (``Unavailable``) is waited out: the part is probed until it answers. Nothing is
  parked for an outage.
- A store that is full (``Full``) may answer its probe: its fault is waited out all the same.
- Any other fault that persists while the part answers its probe comes from the request itself (a missing
  body, a transaction that takes too long): after ``_TRIES`` the group is halved, and a single
  message goes to the retry lane.
- A fault of no part means that a message of the group cannot be delivered. The group is halved,
  without resolving again, until the message is found; it goes to the retry lane. When
  ``MOST_FAILURES`` groups of a batch have failed, further failing groups go to the retry lane
  undivided: the search must not hold up the stream.
- A message in the stream's retry lane is tried alone. If it fails again it is parked on DEAD; while
  DEAD accepts nothing, or for a fault of a part, it stays in the retry lane with growing delays. One
  whose body is missing is parked after ``MISSING_TRIES``: an hour, in which a store that is being
  restored may get it back.
"""

from __future__ import annotations

import asyncio
import random
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from itertools import batched

import structlog
from prometheus_client import Counter

from posthorn.model.streams import is_retry
from posthorn.ports.blobs import BlobMissing
from posthorn.ports.errors import Full, Unavailable
from posthorn.ports.ingest import DeadLetters, Delivery
from posthorn.ports.mailboxes import AccountsGone
from posthorn_delivery.in_flight import Group, InFlight, Item

log = structlog.get_logger()

_poison = Counter(
    "posthorn_delivery_poison_total", "Messages that could not be decoded or delivered"
)
_set_aside = Counter("posthorn_delivery_set_aside_total", "Messages moved to the retry lane")
_retries = Counter(
    "posthorn_delivery_retries_total", "Attempts ended by a fault of a part, by part", ["part"]
)

MOST_FAILURES = 32
"""Groups of one batch that may fail in the search for an undeliverable message."""
NAK_SECONDS = (5.0, 300.0)
"""First and longest delay of a message that is returned to the stream, in seconds."""
MISSING_TRIES = 17
"""Attempts in the retry lane at a message whose body is missing."""
_TRIES = 3
"""Attempts at a group while a part fails although it answers its probe."""
_FIRST_PAUSE = 0.1
_PROBE_PAUSE = 1.0
_LAST_PAUSE = 5.0
_AT_ONCE = 64
"""Messages moved to the retry lane concurrently."""

type Attempt = Callable[[Group, InFlight], Awaitable[list[Group]]]
"""Attempts a group; returns the groups to try next, the first one last.

Raises AccountsGone when the group must be resolved again, Unavailable for a fault of a part,
anything else for a bad message.
"""


class Stopping(Exception):
    """The process drains while a part is down: all messages in flight return to the stream."""


class Isolator:
    """Tries groups of messages until each message is finished."""

    def __init__(
        self, dead: DeadLetters, probes: Mapping[str, Callable[[], Awaitable[None]]]
    ) -> None:
        """``probes``: by the part's name in Unavailable, how to check whether it serves again."""
        self._dead = dead
        self._probes = probes
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Stop waiting out faults."""
        self._stopping.set()

    async def run(self, groups: list[Group], in_flight: InFlight, attempt: Attempt) -> None:
        """Try the groups, in order, until every message is finished. Raises Stopping."""
        groups.reverse()
        pause, failures, waited = _FIRST_PAUSE, 0, 0.0
        while groups:
            group = groups.pop()
            group.items = [item for item in group.items if item.delivery in in_flight.open]
            if not group.items:
                continue
            try:
                more = await attempt(group, in_flight)
                groups += more
                pause = _FIRST_PAUSE
                if waited and not more:
                    log.info("delivery goes on", seconds=round(time.monotonic() - waited))
                    waited = 0.0
            except Unavailable as fault:
                _retries.labels(fault.part).inc()
                log.warning(
                    "not delivered yet",
                    fault=fault,
                    messages=len(group.items),
                )
                waited = waited or time.monotonic()
                pause = await self._wait_out(fault, pause)
                group.resolved = False  # some of it may have been delivered
                if group.tries + 1 < _TRIES or fault.part == "nats" or isinstance(fault, Full):
                    group.tries += 1
                    groups.append(group)
                elif len(group.items) > 1:
                    group.tries = _TRIES - 1
                    groups += group.halves()
                    pause = _FIRST_PAUSE
                else:
                    await self._fails_alone(group.items[0], in_flight, fault)
            except AccountsGone:
                group.resolved = False
                groups.append(group)
            except Exception as error:
                failures += 1
                groups += await self._narrow(group, in_flight, error, failures)

    async def park(self, delivery: Delivery, in_flight: InFlight, name: str, reason: str) -> None:
        """Park the message on DEAD."""
        _poison.inc()
        try:
            await self._dead.park(
                delivery.octets, name, reason, delivery.subject, delivery.stored_as
            )
        except Unavailable as fault:
            await self.put_off(delivery, in_flight, name, fault)
        else:
            log.error("parked", message=name, reason=reason)
            await in_flight.ack(delivery, "parked")

    async def put_off(
        self, delivery: Delivery, in_flight: InFlight, name: str, fault: Exception
    ) -> None:
        """Move the message to the retry lane. One that is there already, or cannot be moved, is
        retried with growing delays."""
        detail = str(fault) if isinstance(fault, Unavailable) else type(fault).__name__
        if not is_retry(delivery.subject):
            try:
                await delivery.set_aside()
            except Unavailable as refusal:
                detail = str(refusal)
            else:
                _set_aside.inc()
                log.warning("moved to the retry lane", message=name, detail=detail)
                await in_flight.ack(delivery, "set aside")
                return
        first, last = NAK_SECONDS
        delay = min(last, first * 2 ** min(delivery.attempt - 1, 10))
        log.error(
            "neither delivered nor parked", message=name, detail=detail, again_in_seconds=delay
        )
        await in_flight.nak(delivery, delay)

    async def _fails_alone(self, item: Item, in_flight: InFlight, fault: Unavailable) -> None:
        delivery = item.delivery
        if (
            isinstance(fault, BlobMissing)
            and is_retry(delivery.subject)
            and delivery.attempt >= MISSING_TRIES
        ):
            await self.park(delivery, in_flight, item.name, "its body is not in the blob store")
        else:
            await self.put_off(delivery, in_flight, item.name, fault)

    async def _narrow(
        self, group: Group, in_flight: InFlight, error: Exception, failures: int
    ) -> list[Group]:
        """Halve a group in which a message cannot be delivered; return the halves."""
        if len(group.items) == 1:
            await self._cannot_be_placed(group.items[0], in_flight, error)
            return []
        fault = type(error).__name__
        if failures < MOST_FAILURES:
            log.warning(
                "halving a transaction to find an undeliverable message",
                messages=len(group.items),
                fault=fault,
            )
            return group.halves()
        log.error(
            "a group is moved to the retry lane undivided", messages=len(group.items), fault=fault
        )
        for some in batched(group.items, _AT_ONCE, strict=False):
            await asyncio.gather(
                *(self.put_off(item.delivery, in_flight, item.name, error) for item in some)
            )
        return []

    async def _cannot_be_placed(self, item: Item, in_flight: InFlight, error: Exception) -> None:
        # the exception's text may quote the message
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{last.name} in {last.filename.rpartition('/')[2]}:{last.lineno}"
        log.error(
            "a message cannot be delivered",
            message=item.name,
            fault=type(error).__name__,
            where=where,
        )
        if is_retry(item.delivery.subject):
            await self.park(item.delivery, in_flight, item.name, type(error).__name__)
        else:
            await self.put_off(item.delivery, in_flight, item.name, error)

    async def _wait_out(self, fault: Unavailable, pause: float) -> float:
        """Wait until the part answers again; return the next pause for the case that it fails
        again."""
        probe = self._probes.get(fault.part)
        wait = pause
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait * random.uniform(0.5, 1)):  # noqa: S311 - spreads load, keeps no secret
                    await self._stopping.wait()
            if self._stopping.is_set():
                raise Stopping
            try:
                if probe is not None:
                    await probe()
                return min(_LAST_PAUSE, pause * 2)
            except Unavailable:
                wait = min(_PROBE_PAUSE, wait * 2)
