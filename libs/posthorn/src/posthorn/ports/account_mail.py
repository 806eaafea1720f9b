"""The mail of an account, as an administrator sees it.

Rules:

- Every method takes the caller's ``tenant``, as in ``ports.administration``, and raises NotFound for an account that the caller
  does
  not see, Unavailable for faults of the store.
- What is deleted frees the quota at once. In a domain with an undelete window it can be brought back for as long as that lasts;
  without one it is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from posthorn.model.blob_range import BodyLocation
from posthorn.ports.changes import Change
from posthorn.ports.idempotency import Receipt

INBOX = "INBOX"
"""The mailbox that every account has, however its name is written (RFC 9051 §5.1)."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mailbox of an account."""

    name: str
    """Levels are divided by slashes."""
    role: str | None
    """inbox, junk, sent or trash (RFC 6154); None: the owner's own."""
    messages: int
    unseen: int
    octets: int
    uidvalidity: int
    uidnext: int


@dataclass(frozen=True, slots=True)
class Message:
    """An entry of a mailbox with what listings show of its message."""

    id: UUID
    mailbox: str
    uid: int
    size: int
    """Octets, exactly as POP3 says."""
    received_at: datetime
    from_: str
    subject: str
    date: str
    message_id: str
    reverse_path: str
    flags: int
    """Bits: 1 seen, 2 answered, 4 flagged, 8 deleted, 16 draft."""
    keywords: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Which:
    """Which messages of a mailbox; None: all."""

    from_: str | None = None
    """A part of the From field; so with the next two. Letters of either case are the same."""
    subject: str | None = None
    message_id: str | None = None
    since: datetime | None = None
    """Received then or later."""
    until: datetime | None = None
    """Received before."""
    larger: int | None = None
    """More octets than that."""
    smaller: int | None = None
    """Fewer octets."""
    seen: bool | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A part of a listing."""

    messages: Sequence[Message]
    """Newest uid first. Encoded words (RFC 2047) are not decoded in the store: a field that holds any is given for the caller to
    look at, whether it matches or not."""
    next: int | None
    """The uid to go on below; None: that was all. The list may be shorter than was asked for, or empty, and still go on."""


@dataclass(frozen=True, slots=True)
class DeletedMessage:
    """A message that can be brought back."""

    message: Message
    """As it was; its ``uid`` is 0."""
    deleted_at: datetime
    until: datetime
    """When its time is over."""


@dataclass(frozen=True, slots=True)
class DeletedKey:
    """The place of a deleted message in the list."""

    message: UUID
    mailbox: int
    deleted_at: datetime


class AccountMail(Protocol):
    """See the rules above."""

    async def mailboxes(self, tenant: UUID | None, address: str) -> Sequence[Mailbox]:
        """List an account's mailboxes, those with a role first, then by name. Counts their messages."""
        ...

    async def create_mailbox(
        self, tenant: UUID | None, address: str, name: str, receipt: Receipt[Mailbox] | None = None
    ) -> Mailbox:
        """Make one. Raises Conflict when the name is taken, or the account has as many as it may."""
        ...

    async def delete_mailbox(self, tenant: UUID | None, address: str, name: str) -> None:
        """Remove one. Raises NotFound; Conflict for one that has a role or holds messages."""
        ...

    async def messages(
        self, tenant: UUID | None, address: str, mailbox: str, which: Which, before: int | None, limit: int
    ) -> Found:
        """List a mailbox below the uid ``before``, at most ``limit`` messages that match and a bounded number looked at. Raises
        NotFound: no such account or mailbox."""
        ...

    async def message(self, tenant: UUID | None, address: str, message: UUID) -> tuple[Message, BodyLocation]:
        """Return one with the place of its octets. Raises NotFound."""
        ...

    async def move_message(self, tenant: UUID | None, address: str, message: UUID, mailbox: str) -> Message:
        """Move the message into this mailbox from every other one.

        Raises NotFound: no such message; ValidationFailed (``mailbox``).
        """
        ...

    async def delete_message(self, tenant: UUID | None, address: str, message: UUID) -> Change[None]:
        """Take the message out of every mailbox of the account. Raises NotFound."""
        ...

    async def deleted(
        self, tenant: UUID | None, address: str, before: DeletedKey | None, limit: int
    ) -> Sequence[tuple[DeletedKey, DeletedMessage]]:
        """List what can be brought back, the newest message first, those below ``before``."""
        ...

    async def undelete_message(self, tenant: UUID | None, address: str, message: UUID) -> Change[Message]:
        """Put the message back where it was deleted, or into the INBOX where that mailbox is gone.

        Raises NotFound: there is none, or its time is over; Conflict when the account has no room for it.
        """
        ...
