"""The mail of an account, for administrators.

Rules:

- Every method takes the caller's ``tenant``, as in ``ports.administration``, and raises NotFound
  for an account that the caller does not see, Unavailable for faults of the store.
- Deletion frees the quota at once. In a domain with an undelete window a message can be restored
  within it; otherwise it is removed permanently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from posthorn.model.blob_range import BodyLocation
from posthorn.ports.changes import Change
from posthorn.ports.idempotency import Receipt

INBOX = "INBOX"
"""The mailbox that every account has; its name is case-insensitive (RFC 9051 §5.1)."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mailbox of an account."""

    name: str
    """Levels are separated by slashes."""
    role: str | None
    """inbox, junk, sent, trash, drafts or archive (RFC 6154); None: created by the owner."""
    messages: int
    unseen: int
    octets: int
    uidvalidity: int
    uidnext: int
    subscribed: bool = True
    """Whether mail clients show it (RFC 9051 §6.3.7)."""


@dataclass(frozen=True, slots=True)
class MailboxChange:
    """What of a mailbox to change; None: as it is."""

    name: str | None = None
    subscribed: bool | None = None


@dataclass(frozen=True, slots=True)
class FlagChange:
    """The flags that a message is to have; None: those it has."""

    flags: int | None = None
    """Bits, as in Message."""
    keywords: tuple[str, ...] | None = None
    """Each once, case ignored."""


@dataclass(frozen=True, slots=True)
class Message:
    """An entry of a mailbox with the fields of its message that listings show."""

    id: UUID
    mailbox: str
    uid: int
    size: int
    """Bytes, exactly as POP3 reports them."""
    received_at: datetime
    from_: str
    subject: str
    date: str
    message_id: str
    reverse_path: str
    flags: int
    """Bits: 1 seen, 2 answered, 4 flagged, 8 deleted, 16 draft."""
    keywords: tuple[str, ...]
    verdict: Mapping[str, Any] | None = None
    """As ``model.verdict`` encodes it; None if the message was not scanned."""
    filed: Sequence[Any] | None = None
    """What the account's filter policy decided, if it had a reason: action, reason, score and
    detail."""


@dataclass(frozen=True, slots=True)
class Which:
    """A filter for the messages of a mailbox; None: any."""

    from_: str | None = None
    """A part of the From field, case-insensitive; likewise the next two."""
    subject: str | None = None
    message_id: str | None = None
    since: datetime | None = None
    """Received then or later."""
    until: datetime | None = None
    """Received before."""
    larger: int | None = None
    """Larger than so many bytes."""
    smaller: int | None = None
    """Fewer bytes."""
    seen: bool | None = None
    text: str | None = None
    """A part of the header or of the body, as IMAP's TEXT. The store does not look at it."""
    body: str | None = None
    """A part of the body, as IMAP's BODY. The store does not look at it."""


@dataclass(frozen=True, slots=True)
class Found:
    """A page of a listing."""

    messages: Sequence[Message]
    """Newest uid first. Encoded words (RFC 2047) are not decoded in the store: a message whose
    field holds any is returned for the caller to check, whether it matches or not."""
    next: int | None
    """The uid to continue below; None: the end. The list may be shorter than the limit, or
    empty, and still continue."""
    place: tuple[int, int] = (0, 0)
    """Ids of the account and of the mailbox, as ``ports.mailbox_view`` takes them."""


@dataclass(frozen=True, slots=True)
class DeletedMessage:
    """A deleted message that can be restored."""

    message: Message
    """As it was; its ``uid`` is 0."""
    deleted_at: datetime
    until: datetime
    """When it is purged."""


@dataclass(frozen=True, slots=True)
class DeletedKey:
    """The key of a deleted message in the list."""

    message: UUID
    mailbox: int
    deleted_at: datetime


class AccountMail(Protocol):
    """See the rules above."""

    async def mailboxes(self, tenant: UUID | None, address: str) -> Sequence[Mailbox]:
        """List an account's mailboxes with counts of their messages, those with a role first,
        then by name."""
        ...

    async def create_mailbox(
        self, tenant: UUID | None, address: str, name: str, receipt: Receipt[Mailbox] | None = None
    ) -> Mailbox:
        """Create a mailbox. Raises Conflict when the name is taken, or the account has the most
        it may have."""
        ...

    async def change_mailbox(
        self, tenant: UUID | None, address: str, name: str, change: MailboxChange
    ) -> Mailbox:
        """Rename a mailbox with those below it, or subscribe to it.

        Raises NotFound; Conflict when the name is taken, or for INBOX.
        """
        ...

    async def delete_mailbox(self, tenant: UUID | None, address: str, name: str) -> None:
        """Delete a mailbox. Raises NotFound; Conflict for one that has a role or holds messages."""
        ...

    async def messages(
        self,
        tenant: UUID | None,
        address: str,
        mailbox: str,
        which: Which,
        before: int | None,
        limit: int,
    ) -> Found:
        """List a mailbox below the uid ``before``: at most ``limit`` matching messages, among a
        bounded number examined. Raises NotFound: no such account or mailbox."""
        ...

    async def message(
        self, tenant: UUID | None, address: str, message: UUID
    ) -> tuple[Message, BodyLocation]:
        """Return a message with the location of its body. Raises NotFound."""
        ...

    async def change_flags(
        self, tenant: UUID | None, address: str, message: UUID, change: FlagChange
    ) -> Message:
        """Change the flags and keywords of the message in every mailbox that has it.

        Raises NotFound: no such message; ValidationFailed (``keywords``): a mailbox would have too
        many different ones.
        """
        ...

    async def move_message(
        self, tenant: UUID | None, address: str, message: UUID, mailbox: str
    ) -> Message:
        """Move the message into this mailbox from every other one.

        Raises NotFound: no such message; ValidationFailed (``mailbox``).
        """
        ...

    async def delete_message(
        self, tenant: UUID | None, address: str, message: UUID
    ) -> Change[None]:
        """Delete the message from every mailbox of the account. Raises NotFound."""
        ...

    async def deleted(
        self, tenant: UUID | None, address: str, before: DeletedKey | None, limit: int
    ) -> Sequence[tuple[DeletedKey, DeletedMessage]]:
        """List messages that can be restored, the newest first, those below ``before``."""
        ...

    async def undelete_message(
        self, tenant: UUID | None, address: str, message: UUID
    ) -> Change[Message]:
        """Restore the message to the mailboxes that it was deleted from, or to the INBOX where that
        mailbox no longer exists.

        Raises NotFound: there is none, or it is past the undelete window; Conflict when the account
        has no room for it.
        """
        ...
