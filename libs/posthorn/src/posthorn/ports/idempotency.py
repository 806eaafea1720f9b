"""Stored answers to requests with an Idempotency-Key, so that a repeat has no second effect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID


class IdempotencyClash(Exception):
    """The Idempotency-Key cannot be used for this request."""

    def __init__(self, *, running: bool) -> None:
        super().__init__("still running" if running else "used for another request")
        self.running = running
        """True: the first request with it is still running. False: it belongs to another
        request."""


class Idempotency(Protocol):
    """Answers to requests with an Idempotency-Key, stored for 24 hours."""

    async def reserve(self, reservation: Reservation) -> StoredAnswer | None:
        """Reserve the key for a request. Return the stored answer when the same request was
        answered before, else None: process it now.

        Raises IdempotencyClash. A request that was begun but not answered within a minute is taken
        for dead, and its key is free.
        """
        ...

    async def complete(self, reservation: Reservation, answer: StoredAnswer) -> None:
        """Store the answer, unless one is stored already."""
        ...

    async def release(self, reservation: Reservation) -> None:
        """Free the key, since the request had no effect. A stored answer stays."""
        ...

    async def first_attempt(self, reservation: Reservation) -> UUID:
        """Return the ``holder`` of the first attempt at this request: the same for every
        attempt."""
        ...

    async def suspend(self, reservation: Reservation) -> None:
        """Free the key for another attempt at the same request only: this one may have had an
        effect, which is unknown. The next attempt gets the same ``first_attempt``."""
        ...

    async def expire(self) -> int:
        """Delete answers older than 24 hours; return how many."""
        ...


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """A stored HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reservation:
    """An Idempotency-Key in use: while the request runs, a repeat is refused; afterwards a
    repeat gets the stored answer."""

    api_key: UUID
    key: str
    request_hash: bytes
    holder: UUID
    """Id of this attempt, so that one taken for dead cannot complete after another took over."""


@dataclass(frozen=True, slots=True)
class Receipt[T]:
    """Lets a creation store its answer in its own transaction, so that not even a crash just
    after it loses the answer."""

    reservation: Reservation
    render: Callable[[T], StoredAnswer]
