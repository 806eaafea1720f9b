"""Segments: blobs with the bodies of many messages, written by delivery and rewritten by the
collector."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from posthorn.model.blob_range import BlobRange
from posthorn.model.envelope import Envelope
from posthorn.model.filter_decision import Decision
from posthorn.model.outbound import Outbound
from posthorn.ports.filing import Withheld


@dataclass(frozen=True, slots=True)
class SegmentMessage:
    """One message to be delivered: into a mailbox of each account, once each, into the outbound
    queue for each recipient elsewhere, and into quarantine for those it is withheld from."""

    envelope: Envelope
    blob_range: BlobRange
    accounts: tuple[int, ...]
    outbound: tuple[Outbound, ...] = ()
    tenant: UUID | None = None
    """Owner of the outbound part: the submitter's tenant, or that of the forwarding alias."""
    signature: str = ""
    """DKIM fields for the outbound part, with their line ends."""
    filed: Mapping[int, Decision] = field(default_factory=dict)
    """Decisions that had a reason, for some of ``accounts``: JUNK goes to Junk, all others to
    INBOX."""
    withheld: tuple[Withheld, ...] = ()
    """Copies for quarantine; their accounts are not in ``accounts``."""
    header: bytes | None = None
    """The header as it is stored, up to the empty line, included, as one zstd frame; None: not kept,
    it can be read from the body."""
    sent: int | None = None
    """The submitting account, if it keeps a copy in Sent, which is ``\\Seen``."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A blob and the messages whose bodies it holds."""

    id: UUID
    key: str
    octets: int
    messages: tuple[SegmentMessage, ...]


class SegmentCatalog(Protocol):
    """The metadata store as the collector uses it. Every method raises Unavailable for faults of
    the store."""

    async def lead(self, seconds: float) -> bool:
        """Become or stay the only collector for so many seconds; False while another is."""
        ...

    async def mostly_dead(
        self, live_share: float, older_than: float, limit: int
    ) -> Sequence[DeadSegment]:
        """Return segments at least ``older_than`` seconds old of whose bytes at most
        ``live_share`` (0 to 1) are live, oldest first."""
        ...

    async def partly_dead(self, older_than: float, limit: int) -> Sequence[DeadSegment]:
        """Return segments at least ``older_than`` seconds old with any dead bytes, oldest first."""
        ...

    async def live_messages(self, segment: UUID) -> Sequence[LiveMessage]:
        """Return the live messages of a segment, by offset."""
        ...

    async def move(self, old: UUID, new: Segment | None, moved: Mapping[UUID, BlobRange]) -> bool:
        """Redirect the moved messages to the new segment and condemn the old one, in one
        transaction.

        ``new`` is None when nothing is live. False, with nothing done, when the old segment's live
        messages are no longer those of ``moved``.
        """
        ...

    async def condemned(
        self, older_than: float, limit: int, *, long_standing: bool = True
    ) -> Sequence[tuple[UUID, str]]:
        """Return segments (id, key) condemned at least ``older_than`` seconds ago, so that no
        reader uses them. One that has a live message all the same is not condemned any more.

        Without ``long_standing`` only those younger than a day when they were condemned.
        """
        ...

    async def long_standing_condemned(self, older_than: float) -> int:
        """Return how many of those were older than a day when they were condemned."""
        ...

    async def long_standing(self) -> int:
        """Return how many segments are older than a day, condemned ones included."""
        ...

    async def removed(self, segments: Collection[UUID]) -> None:
        """Delete the rows of segments whose blobs are deleted."""
        ...

    async def unknown_keys(self, keys: Collection[str]) -> set[str]:
        """Return those of the blob keys that no segment row names."""
        ...

    async def forget_long_senders(self, days: int, limit: int) -> int:
        """Delete long senders of whom nothing has been forwarded for more than that many days;
        returns how many."""
        ...

    async def forget_messages(self, older_than: float, limit: int) -> int:
        """Delete rows of messages without references older than that many seconds; returns how
        many. The row outlives the message so that a late redelivery stays harmless."""
        ...


@dataclass(frozen=True, slots=True)
class DeadSegment:
    """A segment the collector may act on."""

    id: UUID
    key: str
    octets: int
    live_octets: int


@dataclass(frozen=True, slots=True)
class LiveMessage:
    """A live message of a segment."""

    id: UUID
    blob_range: BlobRange
