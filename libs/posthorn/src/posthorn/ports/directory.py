"""The directory of addresses, read by smtp-in at RCPT; a projection of Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from posthorn.model.directory_entry import Entry, RecipientStatus
from posthorn.model.filter_policy import FilterPolicy
from posthorn.model.unpublished import Unpublished
from posthorn.ports.errors import Unavailable
from posthorn.wire.address import Address


class DirectoryBehind(Unavailable):
    """The directory does not hold the address, and unpublished changes may have created it (ADR
    22)."""

    def __init__(self, standing: RecipientStatus) -> None:
        super().__init__("directory", "it is behind on changes")
        self.standing = standing
        """UNKNOWN or FOREIGN: the status of the address if none of these changes concerns it."""


class Directory(Protocol):
    """Answers from the projection only, without Postgres (promise 2)."""

    async def standing(self, address: Address) -> RecipientStatus:
        """Return the status of the address: exact account, alias, ``+tag`` of an account, or the
        domain's catch-all.

        Raises Unavailable when the answer is not known (no connection, no bucket, bucket not yet
        filled). It never answers UNKNOWN or FOREIGN for lack of data (promise 3); raises
        DirectoryBehind, an Unavailable, where an unpublished change may have created the address.
        """
        ...

    async def probe(self) -> None:
        """Do a look-up, for readiness. Raises Unavailable."""
        ...


class DirectoryWithPostmasters(Directory, Protocol):
    """A directory that also answers who gets the mail for postmasters without an address."""

    async def postmaster(self, domain: str) -> Address | None:
        """Return the oldest account of a local domain; None where there is none, or a catch-all.
        Raises Unavailable."""
        ...


class DirectoryWithRoom(DirectoryWithPostmasters, Protocol):
    """A directory that also answers how much fits."""

    async def room(self, address: Address) -> int | None:
        """Return an upper bound of the bytes left in the mailbox that the address leads to (of
        several, the one with the most room); None without a known limit. Raises Unavailable."""
        ...


class DirectoryWithPolicies(DirectoryWithRoom, Protocol):
    """A directory that also answers by which policy mail for an address is filtered."""

    async def policy(self, address: Address) -> FilterPolicy:
        """Return the filter policy for mail to a local address: of its account, else of its
        domain; the default where nothing is known. Raises Unavailable."""
        ...


class DirectoryBucket(Protocol):
    """The projection, as its only writer sees it. Every method raises Unavailable."""

    async def put(self, subject: str, entry: Entry | None) -> None:
        """Store the entry of the subject; None deletes it. Durable on return."""
        ...

    async def entries(self) -> dict[str, Entry]:
        """Yield all entries of the projection, for reconciliation. Entries that cannot be
        decoded count as absent."""
        ...

    async def mark_filled(self) -> None:
        """Declare the bucket complete. Until then a Directory answers only Unavailable, so that
        a lost and recreated bucket never causes ``550 unknown`` for all addresses."""
        ...

    async def is_filled(self) -> bool:
        """Return whether mark_filled was called since the bucket was created."""
        ...

    async def behind(self) -> tuple[int, Unpublished]:
        """Return the mark of unpublished changes, and its revision for ``mark_behind`` (0: there
        was none yet)."""
        ...

    async def mark_behind(self, unpublished: Unpublished, revision: int) -> bool:
        """Replace the mark if it still has this revision; return whether it had. Durable on
        return."""
        ...


class DirectorySource(Protocol):
    """Postgres as the source of the directory, for the publisher. Every method raises
    Unavailable."""

    def pending(self, limit: int) -> AbstractAsyncContextManager[Mapping[str, Entry | None] | None]:
        """Open the next outbox entries: a mapping of subject to its present entry (None: it does
        not exist).

        Single changes go before bulk changes, which still get an eighth of each round; tenants take
        turns in both. Leaving the block normally deletes the entries; leaving it by an error keeps
        them. Yields None while another process publishes: there is one publisher at a time.
        """
        ...

    def everything(self) -> AsyncIterator[tuple[str, Entry]]:
        """Yield all subjects with their entries, in one consistent snapshot."""
        ...

    async def recheck(self, subjects: Collection[str]) -> None:
        """Queue the subjects for publication again, at the end of the outbox."""
        ...

    async def published(self, outbox_ids: Sequence[int]) -> bool:
        """Return whether none of these outbox entries is still waiting."""
        ...

    async def unpublished(self, outbox_ids: Sequence[int] | None = None) -> Unpublished:
        """Return the subjects of those outbox entries that are still waiting; of all, without
        ``outbox_ids``. Bounded in time and size."""
        ...
