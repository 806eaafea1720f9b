"""Transfers: the mail of an account out of the system and into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from posthorn.model.blob_range import BodyLocation
from posthorn.ports.segments import Segment


@dataclass(frozen=True, slots=True)
class Contents:
    """What an export begins with."""

    account: int
    messages: int
    octets: int
    mailboxes: Mapping[int, str]
    """Names by number: all of the account, or the one that was asked for."""


@dataclass(frozen=True, slots=True)
class Exported:
    """An entry of a mailbox with the place of its octets."""

    mailbox: int
    uid: int
    flags: int
    received_at: datetime
    reverse_path: str
    location: BodyLocation


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a message of an import belongs."""

    mailbox: str
    flags: int
    received_at: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Importing:
    """An import at hand."""

    account: int
    holder: UUID
    address: str
    tenant: UUID


class ImportLost(Exception):
    """Another import has taken over, or the account is gone: nothing was placed."""


class Transfers(Protocol):
    """``tenant`` is the caller's, as in ``ports.administration``. Every method raises Unavailable."""

    async def contents(self, tenant: UUID | None, address: str, mailbox: str | None) -> Contents:
        """Count what is to be exported. Raises NotFound: no such account or mailbox."""
        ...

    async def entries(
        self, contents: Contents, after: tuple[int, int], limit: int, ahead: bool = True
    ) -> Sequence[Exported]:
        """List entries by (mailbox, uid), those after ``after``; without ``ahead``, that one itself if it is still there."""
        ...

    async def begin(self, tenant: UUID | None, address: str, holder: UUID, details: Mapping[str, object]) -> Importing:
        """Become the one import into this account, and write that into the audit log. Raises NotFound; Conflict while another
        runs."""
        ...

    async def stay(self, importing: Importing) -> None:
        """Go on being it. Raises ImportLost."""
        ...

    async def finish(self, importing: Importing, counts: Mapping[str, int]) -> None:
        """Let others import, and write the counts into the audit log."""
        ...

    async def digests(
        self, importing: Importing, after: tuple[int, int], limit: int
    ) -> Sequence[tuple[int, int, bytes]]:
        """List of the account's entries mailbox, uid and SHA-256, those after (mailbox, uid)."""
        ...

    async def place(self, importing: Importing, segment: Segment, entries: Sequence[Entry]) -> set[UUID]:
        """Place the segment's messages, an entry for each, in one transaction; returns the ids of those for which the quota has
        room: a message without room is left out, and later ones may still find some. Mailboxes that are not there are made.
        Messages that are placed already count as placed. Raises ImportLost, Conflict when there would be too many mailboxes, and
        what ``Mailboxes.place`` raises for a message that cannot be written."""
        ...
