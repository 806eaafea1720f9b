"""Large requests, a few at a time: a message of many megabytes is several times in memory while it is read and made.

Rules:

- A place is given after the key was recognised and before the body is read, so that nobody without a key can hold one.
- Nobody holds all places: who holds one gets another only while nobody waits and one stays free for others. Keys of one tenant are
  one holder. So a tenant whose bodies trickle in keeps nobody else out.
- A place that comes free goes to whoever has waited longest of those that may have it.
- Who waits is bounded in number and time. Who waits for places of its own is told 429, who waits for others' 503.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from fastapi import Request
from prometheus_client import Gauge

from posthorn.ports.administration import ApiKey
from posthorn.ports.faults import Unavailable
from posthorn_api.documents import SMALL
from posthorn_api.sending_service import Throttled

SEND_PATH = "/v1/send"
"""The one operation that takes large bodies."""
_BODY_SECONDS = 30.0
_LARGE_SECONDS = 120.0
WAIT_SECONDS = 20.0
"""How long a request waits for its place at most."""
WAITING_OF_ONE = 8
"""Requests of one holder that may wait at a time."""
WAITING = 64
"""Requests that may wait at a time."""
_RETRY_SECONDS = 5.0

_held = Gauge("posthorn_api_large_bodies", "Large requests at hand or waiting", ["state"])


@dataclass(frozen=True, slots=True, eq=False)  # two are never the same
class _Waiter:
    holder: UUID
    place: asyncio.Future[None]


class LargeBodies:
    """Bounds the large bodies that are at hand."""

    def __init__(self, at_once: int = 2) -> None:
        self._free = at_once
        self._held: Counter[UUID] = Counter()
        self._waiting: list[_Waiter] = []
        _held.labels("held").set_function(self._held.total)
        _held.labels("waiting").set_function(lambda: len(self._waiting))

    def patience(self, request: Request) -> float:
        """Seconds in which the body must have come."""
        return _LARGE_SECONDS if _is_large(request) else _BODY_SECONDS

    @asynccontextmanager
    async def room(self, request: Request) -> AsyncIterator[None]:
        """Hold a place while the request is at hand, if it is large. Raises Throttled or Unavailable when none comes free."""
        if not _is_large(request):
            yield
            return
        caller: ApiKey = request.state.caller
        holder = caller.tenant or caller.id
        await self._take(holder)
        try:
            yield
        finally:
            self._give(holder)

    async def _take(self, holder: UUID) -> None:
        if sum(waiter.holder == holder for waiter in self._waiting) >= WAITING_OF_ONE:
            raise self._refusal(holder)
        if len(self._waiting) >= WAITING:
            raise Unavailable("api", "too many large bodies wait")
        waiter = _Waiter(holder, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        self._serve()
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await waiter.place
        except BaseException as error:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
                self._serve()  # others may have been waiting behind it
            else:
                self._give(holder)  # it came at the last moment, and nobody takes it
            if isinstance(error, TimeoutError):
                raise self._refusal(holder) from None
            raise

    def _refusal(self, holder: UUID) -> Exception:
        if self._held[holder]:
            return Throttled("too many large messages at a time; send them one after another", _RETRY_SECONDS)
        return Unavailable("api", "too many large bodies at a time")

    def _may_have(self, holder: UUID, *, others_wait: bool) -> bool:
        if not self._held[holder]:
            return self._free > 0
        return self._free > 1 and not others_wait

    def _give(self, holder: UUID) -> None:
        self._free += 1
        self._held[holder] -= 1
        if not self._held[holder]:
            del self._held[holder]
        self._serve()

    def _serve(self) -> None:
        """Give free places to those that wait, the longest first, who holds none before who holds some."""
        waiting = [waiter for waiter in self._waiting if not waiter.place.cancelled()]
        waiting.sort(key=lambda waiter: self._held[waiter.holder] > 0)
        for waiter in waiting:
            others_wait = any(other.holder != waiter.holder for other in self._waiting)
            if self._may_have(waiter.holder, others_wait=others_wait):
                self._waiting.remove(waiter)
                self._free -= 1
                self._held[waiter.holder] += 1
                waiter.place.set_result(None)


def _is_large(request: Request) -> bool:
    """One whose length is not said may be large."""
    if request.url.path != SEND_PATH:
        return False
    length = request.headers.get("content-length", "")
    return not (length.isascii() and length.isdigit() and int(length) <= SMALL)
