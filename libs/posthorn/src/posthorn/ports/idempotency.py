"""Answers to requests that carry an Idempotency-Key, so that a repeat does nothing twice."""

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
        """True: the first request with it still runs. False: it belongs to another request."""


class Idempotency(Protocol):
    """Answers to requests that carry an Idempotency-Key, for 24 hours."""

    async def reserve(self, reservation: Reservation) -> StoredAnswer | None:
        """Take the key for a request. Returns the stored answer when the same request was answered before, else None: do it now.

        Raises IdempotencyClash. A request that was begun but not answered within a minute is taken for dead, and its key for free.
        """
        ...

    async def complete(self, reservation: Reservation, answer: StoredAnswer) -> None:
        """Store the answer, unless one is stored already."""
        ...

    async def release(self, reservation: Reservation) -> None:
        """Free the key, since the request came to nothing. An answer that is stored stays."""
        ...

    async def first_attempt(self, reservation: Reservation) -> UUID:
        """Return the ``holder`` of the first attempt at this request: the same for each attempt, whatever became of those
        before."""
        ...

    async def suspend(self, reservation: Reservation) -> None:
        """Free the key for another attempt at the same request, and for no other: this one may have come to something, though
        nobody can say so. The next one gets the same ``first_attempt``."""
        ...

    async def expire(self) -> int:
        """Forget what is older than 24 hours; returns how many."""
        ...


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """A stored HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reservation:
    """An Idempotency-Key in use: while it runs, a repeat is refused; when it is done, a repeat gets the stored answer."""

    api_key: UUID
    key: str
    request_hash: bytes
    holder: UUID
    """This very attempt, so that one taken for dead cannot finish beside the one that took over."""


@dataclass(frozen=True, slots=True)
class Receipt[T]:
    """Has a creation store its own answer in its transaction, so that not even a crash just after it loses the answer."""

    reservation: Reservation
    render: Callable[[T], StoredAnswer]
