"""The directory: whose is this address? Read by smtp-in at RCPT; a projection of Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from posthorn.model.directory_entry import Entry, RecipientStatus
from posthorn.model.unpublished import Unpublished
from posthorn.ports.errors import Unavailable
from posthorn.wire.address import Address


class DirectoryBehind(Unavailable):
    """The directory does not hold the address, and is known to be behind with changes that may have made it (ADR 22)."""

    def __init__(self, standing: RecipientStatus) -> None:
        super().__init__("directory", "it is behind with changes")
        self.standing = standing
        """UNKNOWN or FOREIGN: what the address is if none of these changes is about it."""


class Directory(Protocol):
    """Answers from the projection alone: no Postgres (promise 2)."""

    async def standing(self, address: Address) -> RecipientStatus:
        """Return what the address is: exact account, alias, ``+tag`` of an account, or the domain's catch-all.

        Raises Unavailable when the answer cannot be known (no connection, no bucket, bucket not yet filled). It never
        answers UNKNOWN or FOREIGN for want of data (promise 3); raises DirectoryBehind, an Unavailable, where a change that is not
        published yet may have made the address.
        """
        ...

    async def probe(self) -> None:
        """A real look-up, for readiness. Raises Unavailable."""
        ...


class DirectoryWithPostmasters(Directory, Protocol):
    """Answers also who takes the mail for postmasters whom nobody else is."""

    async def postmaster(self, domain: str) -> Address | None:
        """Return the oldest account of a domain of ours; None where there is none, or a catch-all takes all. Raises Unavailable."""
        ...


class DirectoryWithRoom(DirectoryWithPostmasters, Protocol):
    """Answers also how much fits."""

    async def room(self, address: Address) -> int | None:
        """Return how many bytes the mailbox to which the address leads may still take at most (of several the
        one with the most room); None when nothing limits them that is known. Raises Unavailable."""
        ...


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
        """Return whether mark_filled was done since the bucket was made."""
        ...

    async def behind(self) -> tuple[int, Unpublished]:
        """Return the mark of what is not published yet, and its revision for ``mark_behind`` (0: there was none yet)."""
        ...

    async def mark_behind(self, unpublished: Unpublished, revision: int) -> bool:
        """Replace the mark, if it still has this revision; return whether it had. Durable on return."""
        ...


class DirectoryTruth(Protocol):
    """Postgres, the truth, as the publisher sees it. Every method raises Unavailable."""

    def pending(self, limit: int) -> AbstractAsyncContextManager[Mapping[str, Entry | None] | None]:
        """Open the next outbox entries: a mapping of subject to what is true of it now (None: it is gone).

        Changes made one by one go before those made in bulk, of which an eighth comes along all the same; tenants take turns in
        both. Leaving the block normally strikes them off; leaving it by an error keeps them. Returns None while another process
        publishes: there is one publisher at a time.
        """
        ...

    def everything(self) -> AsyncIterator[tuple[str, Entry]]:
        """All subjects with their entries, in one consistent reading."""
        ...

    async def doubt(self, subjects: Collection[str]) -> None:
        """Have the subjects published anew, by entries at the end of the outbox."""
        ...

    async def published(self, outbox_ids: Sequence[int]) -> bool:
        """Return whether none of these outbox entries is waiting any more."""
        ...

    async def unpublished(self, outbox_ids: Sequence[int] | None = None) -> Unpublished:
        """Return what of these outbox entries is still waiting; of all, without ``outbox_ids``. Bounded in time and size."""
        ...
