"""Mailboxes, from delivery's side: resolve recipients, place a batch."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol
from uuid import UUID

from posthorn.model.envelope import Envelope
from posthorn.model.outbound import Outbound


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a message's octets lie: a range of a blob."""

    offset: int
    length: int
    """Octets as stored, after encoding."""
    encoding: str = "identity"
    """``identity`` or ``zstd``."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One message to be placed: into the INBOX of each account, once each, and into the outbound queue for each recipient
    elsewhere."""

    envelope: Envelope
    placement: Placement
    accounts: tuple[int, ...]
    outbound: tuple[Outbound, ...] = ()
    tenant: UUID | None = None
    """Whose the outbound part is: the submitter's tenant, or that of the alias that forwards."""
    signature: str = ""
    """DKIM fields for the outbound part, with their line ends."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A blob and the letters that lie in it."""

    id: UUID
    key: str
    octets: int
    letters: tuple[Letter, ...]


@dataclass(frozen=True, slots=True)
class Forward:
    """An address elsewhere that an alias of ours leads to."""

    address: str
    alias: str
    """The alias whose target it is: its domain is the one that rewrites the reverse-path."""
    tenant: UUID
    withheld: Literal["", "suppressed", "unconfirmed"] = ""
    """Why it gets nothing: it is on the tenant's suppression list, or has not confirmed that it wants what the alias sends."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """What recipients come to, by Postgres, the truth."""

    accounts: Mapping[str, tuple[int, ...]]
    """For each recipient that resolves, the account ids it leads to, without repeats. A recipient that is missing here leads
    nowhere: its account or alias has gone since RCPT."""
    placed: frozenset[UUID]
    """Those of the asked message ids that are already in the mailboxes (an earlier delivery whose ack was lost)."""
    forwards: Mapping[str, tuple[Forward, ...]] = field(default_factory=dict)
    """For each recipient that aliases lead out of here, where to; it may have accounts as well."""
    elsewhere: frozenset[str] = frozenset()
    """Those recipients whose own domain is not ours."""
    wide: frozenset[str] = frozenset()
    """Those recipients that come to too many addresses for a batch; they are in none of the above. ``ports.expansions``."""


class AccountsGone(Exception):  # noqa: N818 - it names what happened
    """An account vanished between resolve and place. Resolve again; nothing has been written."""


class Mailboxes(Protocol):
    """What delivery asks of the metadata store. Every method raises Unavailable for faults of the store."""

    async def resolve(self, recipients: Collection[str], messages: Collection[UUID]) -> Resolution:
        """Follow aliases, ``+tags`` and catch-alls to accounts, and tell which messages are placed already. One round trip,
        unless they lead to thousands of addresses together. An alias that alone leads to more than about a hundred is only told
        to be wide."""
        ...

    async def place(self, segments: Sequence[Segment]) -> int:
        """Write messages, mailbox entries, quotas, outbound rows and segments in one transaction: all or nothing.

        A message id that is there already is left as it is (its part of the segment is dead at once), so that redelivery does
        nothing. Raises AccountsGone. Over quota is no hindrance: the message was promised. An outbound part in the state HELD opens
        an expansion (``ports.expansions``). Gives the number of entries made.
        """
        ...

    async def probe(self) -> None:
        """A cheap real query that also checks the schema version. Raises Unavailable."""
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
    placement: Placement


class Storeroom(Protocol):
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

    async def move(self, old: UUID, new: Segment | None, moved: Mapping[UUID, Placement]) -> bool:
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

    async def forget_messages(self, older_than: float, limit: int) -> int:
        """Delete rows of messages without references older than that many seconds; gives how many. The row outlives the
        message so that a late redelivery stays harmless."""
        ...
