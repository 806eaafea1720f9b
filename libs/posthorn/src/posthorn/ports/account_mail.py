"""The mail of an account, as an administrator sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from posthorn.ports.administration import Change
from posthorn.ports.maildrops import Location


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


class AccountMail(Protocol):
    """Every method takes the caller's tenant, as in ``ports.administration``. Raises Unavailable."""

    async def messages(
        self, tenant: UUID | None, address: str, mailbox: str, before: int | None, limit: int
    ) -> Sequence[Message]:
        """List a mailbox, newest uid first, below ``before``. Raises Missing: no such account or mailbox."""
        ...

    async def message(self, tenant: UUID | None, address: str, message: UUID) -> tuple[Message, Location]:
        """Give one with the place of its octets. Raises Missing."""
        ...

    async def delete_message(self, tenant: UUID | None, address: str, message: UUID) -> Change[None]:
        """Take the message out of every mailbox of the account, dropping quota and references exactly. Raises Missing."""
        ...
