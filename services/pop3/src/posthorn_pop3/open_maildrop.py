"""One session's open maildrop: what is read of it, and what is deleted.

Rules:

- Deletions happen in ``OpenMaildrop.commit`` and nowhere else.
- Locations are asked for in batches, bodies ahead of the client, so that reading on costs no round
  trip for each message.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import structlog
from prometheus_client import Counter

from posthorn.model.blob_range import BodyLocation
from posthorn.ports.access import Ending, Proof
from posthorn.ports.blobs import BlobMissing
from posthorn.ports.bodies import BodyReader
from posthorn.ports.errors import Unavailable
from posthorn.ports.maildrops import AccountLogin as Account
from posthorn.ports.maildrops import Maildrops, Revoked
from posthorn_pop3.snapshot import Snapshot

log = structlog.get_logger()

WINDOW = 128
"""Messages located in one query."""
AHEAD = 64
"""Messages whose bodies are prefetched at most."""
AHEAD_OCTETS = 1024 * 1024
"""Bytes of bodies that are prefetched for one session at most."""

_deleted = Counter("posthorn_pop3_deleted_total", "Messages deleted by clients")


class MaildropOwner(Protocol):
    """Keeps the maildrops that are open in this process."""

    def closed(self, holder: UUID) -> None:
        """Forget a maildrop that its session has closed."""
        ...

    async def release(self, account: int, holder: UUID) -> None:
        """Release a lease, at once or later. Raises nothing."""
        ...

    def retrieved(self, messages: Sequence[UUID], reader: Mapping[str, str]) -> None:
        """Record that messages were sent whole to a client."""
        ...


class Gone(Exception):
    """The message is not there any more, though the snapshot has it: somebody else deleted it."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A message being read: its first bytes are there, so that the reply may begin."""

    location: BodyLocation
    first: bytes
    rest: AsyncGenerator[bytes] | None
    """None when ``first`` is all of it."""


_ENDINGS: Mapping[Ending, tuple[str, str]] = {
    Ending.CLOSED: (
        "suspended",
        "[SYS/PERM] this account is suspended or gone, nothing is deleted",
    ),
    Ending.CHANGED: (
        "revoked",
        "[AUTH] the password was changed or revoked, log in again; nothing is deleted",
    ),
    Ending.TAKEN: (
        "lease lost",
        "[SYS/TEMP] the maildrop was taken by another session, nothing is deleted",
    ),
    Ending.EXPIRED: (
        "token expired",
        "[AUTH] the token has expired, log in again; nothing is deleted",
    ),
}
"""For each: how the session ended, for the log, and the text after ``-ERR``."""


class OpenMaildrop:
    """One session's open maildrop."""

    def __init__(
        self,
        owner: MaildropOwner,
        maildrops: Maildrops,
        bodies: BodyReader,
        account: Account,
        proof: Proof,
        holder: UUID,
        snapshot: Snapshot,
    ) -> None:
        self._owner = owner
        self._maildrops = maildrops
        self._bodies = bodies
        self._reader = {"account": account.address, "tenant": str(account.tenant)}
        self.account = account.account
        self.address = account.address
        self.keep_days = account.keep_days
        self.holder = holder
        self.snapshot = snapshot
        self.proof = proof
        self.ending: Ending | None = None
        """Why nothing more may be done here; None while all is well."""
        self.is_leaving = False
        """QUIT is under way: the lease may be gone already, and nobody has taken it."""
        self.on_end: Callable[[], object] = _nothing
        """Called when the maildrop is closed from outside: the session is to end now."""
        self._left = False
        self._located: dict[int, BodyLocation] = {}
        self._located_to = 0  # numbers below are located, or were not there
        self._warm_to = 0  # numbers below are cached or on their way
        self._locating: asyncio.Task[None] | None = None

    @property
    def farewell(self) -> tuple[str, str]:
        """Return how it ended, for the log, and the text that the client is told after ``-ERR``."""
        assert self.ending is not None
        return _ENDINGS[self.ending]

    def end(self, ending: Ending) -> None:
        """Close the maildrop from outside: its session ends, and deletes nothing."""
        self.ending = ending
        self.on_end()

    def cached(self, number: int) -> tuple[BodyLocation, bytes] | None:
        """Return a message that can be had without waiting."""
        location = self._located.get(number)
        if location is None:
            return None
        body = self._bodies.cached(location)
        if body is None:
            return None
        if number + AHEAD // 2 >= self._warm_to and self._locating is None:
            self._warm(number + 1)
        return location, body

    def message(self, number: int) -> str | None:
        """The id of a message for the log, if it is known yet."""
        location = self._located.get(number)
        return str(location.message) if location else None

    def have_read(self, messages: Sequence[UUID]) -> None:
        """Record that these messages were sent whole."""
        self._owner.retrieved(messages, self._reader)

    async def open(self, number: int) -> Opened:
        """Return a message with its first bytes read. Raises Gone, or Unavailable when not even
        those can be had."""
        location = await self._locate(number)
        try:
            return await self._open(number, location)
        except BlobMissing:
            # The collector has moved the message since it was located.
            self._forget_locations()
            return await self._open(number, await self._locate(number))

    async def commit(self) -> int:
        """Delete what is marked, at least one message, and release the lease, in one transaction;
        return how many were deleted.

        Raises LeaseLost or Revoked with nothing deleted, or Unavailable, after which nothing is
        known to be deleted.
        """
        if self.ending is not None:
            raise Revoked(self.ending)
        self.is_leaving = True
        uids = self.snapshot.deleted()
        count = await self._maildrops.commit(self.account, self.holder, uids, self.proof)
        self._leave()
        _deleted.inc(count)
        return count

    async def leave(self) -> None:
        """Release the lease without deleting anything; after a commit it does nothing. Raises
        nothing."""
        if self._left:
            return
        self._leave()
        if self.ending is Ending.TAKEN:
            return
        await self._owner.release(self.account, self.holder)

    def _leave(self) -> None:
        self._left = True
        self._owner.closed(self.holder)
        if self._locating is not None:
            self._locating.cancel()

    async def _open(self, number: int, location: BodyLocation) -> Opened:
        if location.size != self.snapshot.size(number):
            raise Unavailable(
                "postgres", f"message {location.message} has another size than in the listing"
            )
        if self._bodies.whole(location):
            body = await self._bodies.read(location, self._locations(number + 1, AHEAD))
            self._warm(number + 1)
            return Opened(location, body, None)
        pieces = self._bodies.stream(location)
        first = await anext(pieces, b"")
        return Opened(location, first, pieces)

    async def _locate(self, number: int) -> BodyLocation:
        if number not in self._located and self._locating is not None:
            await asyncio.wait([self._locating])
        if number not in self._located:
            await self._locate_from(number)
        try:
            return self._located[number]
        except KeyError:
            raise Gone from None

    async def _locate_from(self, number: int) -> None:
        """Locate a window of messages from ``number`` on and forget those before it."""
        numbers = self.snapshot.following(number, WINDOW)
        uids = {self.snapshot.uid(each): each for each in numbers}
        found = await self._maildrops.locate(self.account, list(uids))
        kept = {
            each: location
            for each, location in self._located.items()
            if number - WINDOW < each < number
        }
        self._located = kept | {uids[uid]: location for uid, location in found.items()}
        self._located_to = number + WINDOW
        self._warm_to = min(self._warm_to, number + WINDOW)

    def _forget_locations(self) -> None:
        self._located = {}
        self._located_to = self._warm_to = 0

    def _locations(self, number: int, most: int) -> list[BodyLocation]:
        return [
            self._located[each]
            for each in self.snapshot.following(number, most)
            if each in self._located
        ]

    def _warm(self, number: int) -> None:
        """Fetch what comes next, and locate what comes after that."""
        start = self._warm_to if number < self._warm_to <= number + AHEAD else number
        wanted: list[BodyLocation] = []
        size = 0
        self._warm_to = min(number + AHEAD, self._located_to)
        for each in self.snapshot.following(number, AHEAD):
            location = self._located.get(each)
            if location is None:
                continue
            size += location.length
            if size > AHEAD_OCTETS:
                self._warm_to = min(max(each, start), self._warm_to)
                break
            if each >= start:
                wanted.append(location)
        self._bodies.prefetch(wanted)
        if self._locating is None and number + AHEAD >= self._located_to <= len(self.snapshot):
            self._locating = asyncio.get_running_loop().create_task(
                self._locate_next(self._located_to)
            )

    async def _locate_next(self, number: int) -> None:
        try:
            with suppress(Unavailable):  # whoever needs the message will ask again and hear of it
                await self._locate_from(number)
        finally:
            self._locating = None


def _nothing() -> object:
    return None
