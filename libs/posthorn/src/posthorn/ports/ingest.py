"""The ingest stream: accepted messages on their way to delivery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from posthorn.model.envelope import Envelope
from posthorn.model.streams import LEGACY_SUBJECT


class Ingest(Protocol):
    """The accepting side, used by smtp-in, the API and the relay."""

    async def accept(self, envelope: Envelope, body: bytes | None) -> None:
        """Store the message. On return it survives the loss of any process: the caller may answer
        250.

        The envelope's id makes a repeat harmless. Raises Full (the stream's byte limit: 452) or
        Unavailable (451); after Unavailable the message may have been stored all the same, which
        SMTP cannot distinguish either (RFC 1047).
        """
        ...

    async def probe(self) -> None:
        """Check whether the stream can store a message now. Raises Unavailable or Full."""
        ...


class IngestWithLanes(Ingest, Protocol):
    """The accepting side with the lane of messages that were not scanned."""

    async def accept(
        self, envelope: Envelope, body: bytes | None, *, unscanned: bool = False
    ) -> None:
        """``unscanned``: store it in the lane of those that the scanning tier is to judge before
        they are delivered (ADR 31)."""
        ...


class Delivery(Protocol):
    """A message taken from the stream, with the means to acknowledge or return it."""

    @property
    def octets(self) -> bytes:
        """The ingest record, see ``model.envelope``."""
        ...

    @property
    def subject(self) -> str:
        """The subject it was published under, which shows the publisher (``model.authority``)
        and its lane."""
        ...

    @property
    def attempt(self) -> int:
        """1 at the first delivery, more after a redelivery."""
        ...

    @property
    def stored_as(self) -> str:
        """Which stored copy of the message it is: the same at each redelivery."""
        ...

    async def ack(self) -> None:
        """Remove the message from the stream: it is stored elsewhere. A lost ack causes a
        harmless redelivery."""
        ...

    async def nak(self, delay: float) -> None:
        """Return the message to the stream, to be delivered again after ``delay`` seconds."""
        ...

    async def set_aside(self) -> None:
        """Publish the message to the retry lane; on return it is stored there, and ``ack`` removes
        it from this one. A repeat is harmless.

        Raises Unavailable, or Full when the stream has no room for a temporary second copy.
        """
        ...

    async def in_progress(self) -> None:
        """Report that the message is still in progress, so that it is not redelivered yet."""
        ...


class IngestSource(Protocol):
    """The consuming side."""

    async def take(self, most: int, max_bytes: int) -> Sequence[Delivery]:
        """Wait for a message, then return all that are waiting, at most ``most`` messages and
        about ``max_bytes`` bytes (always at least one message). Never waits for a batch to fill.
        Raises Unavailable.
        """
        ...

    def leave_to_others(self, spacing: float) -> None:
        """Leave to other processes what arrives until this one's next turn, if there are others
        that take messages: what none of them takes gathers, and the next ``take`` waits for the turn
        and returns all of it. Turns come so that batches of all processes together begin about
        ``spacing`` seconds apart."""
        ...

    async def stop(self) -> None:
        """Request nothing more, and return buffered messages to the stream at once: others get
        them while this process drains."""
        ...

    async def backlog(self) -> Backlog:
        """Return the backlog of the stream. Raises Unavailable."""
        ...


@dataclass(frozen=True, slots=True)
class PartitionBacklog:
    """Messages on one partition of the ingest stream; the fields are those of ``Backlog``."""

    messages: int
    octets: int
    oldest: datetime | None
    retrying: int
    oldest_first: datetime | None


@dataclass(frozen=True, slots=True)
class Backlog:
    """Messages on the ingest stream, on all of its partitions together, and on DEAD."""

    messages: int
    octets: int
    oldest: datetime | None
    """When the oldest message on INGEST arrived, in any lane; None when it is empty."""
    dead: int
    oldest_dead: datetime | None
    retrying: int = 0
    """Messages in the retry lane."""
    oldest_first: datetime | None = None
    """When the oldest message outside the retry lane arrived; None when there is none."""
    partitions: Mapping[int, PartitionBacklog] = field(default_factory=dict)
    """By number of the partition (ADR 48)."""


class Strays(Protocol):
    """Messages that INGEST holds while neither of its consumers knows them, as a full disk under
    the stream may leave."""

    async def find(self, limit: int) -> Sequence[Delivery]:
        """Return the oldest, at most ``limit``. No consumer delivers them; ``ack`` deletes them,
        ``nak`` leaves them there.

        A message that is just being acknowledged may be among them. Raises Unavailable.
        """
        ...


@dataclass(frozen=True, slots=True)
class Parked:
    """A message on DEAD, for the API."""

    sequence: int
    message_id: str
    reason: str
    parked_at: datetime
    octets: int


class DeadLetters(Protocol):
    """The stream DEAD: messages that delivery could not deliver. Only an administrator removes
    messages from it."""

    async def park(
        self,
        data: bytes,
        message_id: str,
        reason: str,
        subject: str = LEGACY_SUBJECT,
        stored_as: str = "",
    ) -> None:
        """Store a record with the reason and its subject, for a retry.

        The same id, reason and copy (``stored_as``) within two minutes is stored once. One that is
        retried is another copy: the former is removed just when this one may be parked. Raises
        Unavailable or Full.
        """
        ...

    async def parked(self, after: int, limit: int) -> Sequence[Parked]:
        """List messages with a sequence above ``after``, oldest first. Raises Unavailable."""
        ...

    async def retry(self, sequence: int) -> bool:
        """Publish the message to INGEST again, with the same role, and delete it from DEAD.

        False when there is none. Raises Unavailable.
        """
        ...

    async def discard(self, sequence: int) -> bool:
        """Delete the message from DEAD. False when there is none. Raises Unavailable."""
        ...
