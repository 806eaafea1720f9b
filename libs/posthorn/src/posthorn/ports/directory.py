"""The directory: whose is this address? Read by smtp-in at RCPT; a projection of Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from posthorn.wire.address import Address


class Standing(Enum):
    """What may be done with a letter to an address."""

    DELIVERABLE = "deliverable"
    OVER_QUOTA = "over-quota"
    """Known, but the mailbox is full: 452 4.2.2."""
    SUSPENDED = "suspended"
    """Known, but its account takes no mail now: 450 4.2.1."""
    UNKNOWN = "unknown"
    """The domain is ours, the address is not: 550 5.1.1."""
    FOREIGN = "foreign"
    """The domain is not ours: 550 5.7.1, never a relay."""


class Directory(Protocol):
    """Answers from the projection alone: no Postgres (promise 2)."""

    async def standing(self, address: Address) -> Standing:
        """Tell what the address is: exact account, alias, ``+tag`` of an account, or the domain's catch-all.

        Raises Unavailable when the answer cannot be known (no connection, no bucket, bucket not yet filled). It never
        answers UNKNOWN or FOREIGN for want of data (promise 3).
        """
        ...

    async def probe(self) -> None:
        """A real look-up, for readiness. Raises Unavailable."""
        ...


@dataclass(frozen=True, slots=True)
class DomainEntry:
    """What the projection says of a domain."""

    catch_all: str | None
    """Canonical address that takes what no other address of the domain takes."""
    plus_addressing: bool


@dataclass(frozen=True, slots=True)
class AddressEntry:
    """What the projection says of an account's or an alias's address."""

    standing: Standing


type Entry = DomainEntry | AddressEntry
"""What the projection holds under a subject: ``@domain`` or a canonical address."""


class DirectoryBucket(Protocol):
    """The projection, as its one writer sees it. Every method raises Unavailable."""

    async def put(self, subject: str, entry: Entry | None) -> None:
        """Make the projection say this of the subject; None takes the subject out. Durable on return."""
        ...

    async def entries(self) -> dict[str, Entry]:
        """All that the projection says, for reconciliation. Entries that do not read count as absent."""
        ...

    async def mark_filled(self) -> None:
        """Declare the bucket complete. Until this is done once, a Directory answers nothing but Unavailable, so that a lost and
        newly made bucket never turns into ``550 unknown`` for everybody."""
        ...

    async def is_filled(self) -> bool:
        """Whether mark_filled was done since the bucket was made."""
        ...


class DirectoryTruth(Protocol):
    """Postgres, the truth, as the publisher sees it. Every method raises Unavailable."""

    def pending(self, limit: int) -> AbstractAsyncContextManager[Mapping[str, Entry | None] | None]:
        """Open the oldest outbox entries: a mapping of subject to what is true of it now (None: it is gone).

        Leaving the block normally strikes them off; leaving it by an error keeps them. Gives None while another process publishes:
        there is one publisher at a time.
        """
        ...

    def everything(self) -> AsyncIterator[tuple[str, Entry]]:
        """All subjects with their entries, in one consistent reading."""
        ...
