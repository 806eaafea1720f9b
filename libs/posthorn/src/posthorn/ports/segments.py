"""Segments: blobs in which the bodies of many messages lie, as delivery writes and the collector rewrites them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from posthorn.model.blob_range import BlobRange
from posthorn.model.envelope import Envelope
from posthorn.model.outbound import Outbound


@dataclass(frozen=True, slots=True)
class SegmentMessage:
    """One message to be delivered: into the INBOX of each account, once each, and into the outbound queue for each recipient
    elsewhere."""

    envelope: Envelope
    blob_range: BlobRange
    accounts: tuple[int, ...]
    outbound: tuple[Outbound, ...] = ()
    tenant: UUID | None = None
    """Whose the outbound part is: the submitter's tenant, or that of the alias that forwards."""
    signature: str = ""
    """DKIM fields for the outbound part, with their line ends."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A blob and the messages whose bodies lie in it."""

    id: UUID
    key: str
    octets: int
    messages: tuple[SegmentMessage, ...]


class SegmentCatalog(Protocol):
    """What the collector asks of the metadata store. Every method raises Unavailable for faults of the store."""

    async def lead(self, seconds: float) -> bool:
        """Become or stay the one collector for that long; False while another is."""
        ...

    async def mostly_dead(self, live_share: float, older_than: float, limit: int) -> Sequence[DeadSegment]:
        """Segments at least ``older_than`` seconds old of whose octets at most ``live_share`` (0 to 1) are live, oldest first."""
        ...

    async def live_messages(self, segment: UUID) -> Sequence[LiveMessage]:
        """The messages of a segment that are still referred to, by offset."""
        ...

    async def move(self, old: UUID, new: Segment | None, moved: Mapping[UUID, BlobRange]) -> bool:
        """Point the moved messages to the new segment and mark the old one for removal, in one transaction.

        ``new`` is None when nothing is live. False, and nothing done, when the old segment's live messages have meanwhile
        become others than ``moved`` names.
        """
        ...

    async def condemned(
        self, older_than: float, limit: int, *, long_standing: bool = True
    ) -> Sequence[tuple[UUID, str]]:
        """Segments (id, key) marked for removal at least ``older_than`` seconds ago, so that readers have let go of them.

        Without ``long_standing`` only those that had not lived for a day when they were marked.
        """
        ...

    async def long_standing_condemned(self, older_than: float) -> int:
        """How many of those had lived for a day when they were marked."""
        ...

    async def long_standing(self) -> int:
        """How many segments have lived for a day, those marked for removal included."""
        ...

    async def removed(self, segments: Collection[UUID]) -> None:
        """Forget segments whose blobs are gone."""
        ...

    async def unknown_keys(self, keys: Collection[str]) -> set[str]:
        """Those of the blob keys that no segment row names."""
        ...

    async def forget_long_senders(self, days: int, limit: int) -> int:
        """Delete long senders of whom nothing has been forwarded for more than that many days; returns how many."""
        ...

    async def forget_messages(self, older_than: float, limit: int) -> int:
        """Delete rows of messages without references older than that many seconds; returns how many. The row outlives the
        message so that a late redelivery stays harmless."""
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
    """A message of a segment that is still referred to."""

    id: UUID
    blob_range: BlobRange
