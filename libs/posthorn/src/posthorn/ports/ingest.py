"""The ingest stream: where a message is promised, and where delivery finds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from posthorn.model.envelope import Envelope
from posthorn.model.streams import LEGACY_SUBJECT


class Ingest(Protocol):
    """The accepting side, used by smtp-in (and by the API's send)."""

    async def accept(self, envelope: Envelope, body: bytes | None) -> None:
        """Keep the message. On return it survives the loss of any process: the caller may answer 250.

        The envelope's id makes a repeat harmless. Raises Full (the stream's byte limit: 452) or Unavailable (451); after
        Unavailable the message may all the same have been kept, which SMTP cannot tell either (RFC 1047).
        """
        ...

    async def probe(self) -> None:
        """Ask whether the stream could take a message now. Raises Unavailable or Full."""
        ...


class Delivery(Protocol):
    """One message taken from the stream: its octets and its fate."""

    @property
    def octets(self) -> bytes:
        """The ingest record, see ``model.envelope``."""
        ...

    @property
    def subject(self) -> str:
        """The subject it was published under, which says by whom (``model.authority``), and in which lane it is."""
        ...

    @property
    def attempt(self) -> int:
        """1 at the first delivery, more after a redelivery."""
        ...

    async def ack(self) -> None:
        """It lies in the mailboxes: take it off the stream. Lost, it leads to a harmless redelivery."""
        ...

    async def nak(self, delay: float) -> None:
        """Give it back, to be delivered again after ``delay`` seconds."""
        ...

    async def set_aside(self) -> None:
        """Publish it to the retry lane; on return it is kept there, and ``done`` takes it off this one. A repeat is harmless.

        Raises Unavailable, or Full when the stream has no room for a moment's second copy.
        """
        ...

    async def in_progress(self) -> None:
        """It is still being worked on: do not redeliver yet."""
        ...


class IngestSource(Protocol):
    """The delivering side."""

    async def take(self, most: int, octets: int) -> Sequence[Delivery]:
        """Wait until something is there, then give all that is waiting, at most ``most`` messages and about ``octets``
        octets (always at least one message). Never waits for a batch to fill. Raises Unavailable.
        """
        ...

    async def stop(self) -> None:
        """Ask for nothing more, and give back at once what waits to be taken: others have it while this process drains."""
        ...

    async def backlog(self) -> Backlog:
        """What waits on the stream. Raises Unavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Backlog:
    """What lies on the ingest stream and on DEAD."""

    messages: int
    octets: int
    oldest: datetime | None
    """When the oldest message still on INGEST arrived, in whatever lane; None when it is empty."""
    dead: int
    oldest_dead: datetime | None
    retrying: int = 0
    """Messages in the retry lane."""
    oldest_first: datetime | None = None
    """When the oldest message arrived that is not in the retry lane; None when there is none."""


class Strays(Protocol):
    """Messages that INGEST holds while neither of its consumers knows of them, as a full disk under the stream may leave them."""

    async def find(self, limit: int) -> Sequence[Delivery]:
        """Return the oldest, at most ``limit``. They come to no one else; ``done`` deletes them, ``again`` leaves them there.

        One that is just being acknowledged may be among them. Raises Unavailable.
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
    """The stream DEAD: messages that delivery could not place. Nothing leaves it but by an administrator's hand."""

    async def park(self, octets: bytes, message_id: str, reason: str, subject: str = LEGACY_SUBJECT) -> None:
        """Keep a record with the reason and the subject that it came under, for a retry.

        The same id and reason within two minutes is kept once. Raises Unavailable or Full.
        """
        ...

    async def parked(self, after: int, limit: int) -> Sequence[Parked]:
        """List messages with a sequence above ``after``, oldest first. Raises Unavailable."""
        ...

    async def retry(self, sequence: int) -> bool:
        """Put the message on INGEST again, as of the same role, and take it off DEAD.

        False when there is none. Raises Unavailable.
        """
        ...

    async def discard(self, sequence: int) -> bool:
        """Take the message off DEAD for good. False when there is none. Raises Unavailable."""
        ...
