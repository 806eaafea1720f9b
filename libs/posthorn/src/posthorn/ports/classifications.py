"""Classifications: what owners say of their messages. Every method raises Unavailable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from posthorn.model.classification import Classification


@dataclass(frozen=True, slots=True)
class Classified:
    """A message after it was classified."""

    message: UUID
    classification: Classification
    taught: Classification
    """What the models of the account and the tenant have learned of it so far."""
    mailbox: str
    tenant: UUID


class Classifications(Protocol):
    """See the module."""

    async def classify(
        self,
        tenant: UUID | None,
        address: str,
        message: UUID,
        wanted: Classification,
        *,
        move: bool = True,
    ) -> Classified:
        """Record what an account's owner says of a message; it is learned soon after. ``move``:
        spam goes to Junk, and ham in Junk to INBOX. Raises NotFound: no such account or message."""
        ...
