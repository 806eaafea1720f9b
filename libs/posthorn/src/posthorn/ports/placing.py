"""Placing of messages in a mailbox at once: APPEND (RFC 9051 §6.3.12, RFC 3502), and the copies of
what accounts send."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to be placed."""

    content: bytes | None
    """With CRLF line ends and an empty line after the header; None: it was uploaded."""
    upload: Uploaded | None
    flags: int
    keywords: tuple[str, ...]
    internal_date: datetime | None
    """None: now."""


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A large message that is in the blob store already."""

    key: str
    size: int
    sha256: bytes
    header: bytes
    """Its first bytes, at most 256 KiB: the header and what follows it."""
    has_dot_lines: bool


@dataclass(frozen=True, slots=True)
class Placed:
    """Where messages are now."""

    mailbox: int
    uidvalidity: int
    uids: Sequence[int]
    """In the order given."""
    modseq: int
    left: int | None = None
    """Modseq of the mailbox that a replaced message was removed from; None: none was replaced."""


class ReplacedGone(Exception):
    """The message that was to be replaced is not there any more. Nothing was changed."""


class Placing(Protocol):
    """Every method raises Unavailable. After one from ``place`` the messages may all the same have
    been placed."""

    async def upload(self, pieces: AsyncIterator[bytes]) -> Uploaded:
        """Put a large message into the blob store, under a key of its own."""
        ...

    async def check(self, account: int, mailbox: str, size_bytes: int) -> bool:
        """Return whether there is such a mailbox. Raises NoRoom when the quota has no room for so
        many bytes: asked before the message is sent."""
        ...

    async def place(
        self,
        account: int,
        mailbox: str,
        messages: Sequence[NewMessage],
        replaced: tuple[int, int] | None = None,
    ) -> Placed | None:
        """Place all of the messages in one transaction, or none. None: no such mailbox. Raises
        NoRoom, TooManyKeywords, NoUids (``ports.mailbox_view``).

        ``replaced``: mailbox id and uid of a message that is removed in the same transaction (RFC
        8508), so that its room counts for the new ones. Raises ReplacedGone.

        Messages of several callers that arrive together share a segment (one PUT).
        """
        ...
