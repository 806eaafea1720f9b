"""Search for messages, whatever happened to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from posthorn.model.search_terms import asked_for, subject_words
from posthorn.ports.api_keys import ApiKey
from posthorn.ports.message_index import IndexedMessage, MessageFilter, MessageIndex, Place
from posthorn.runtime.fair_slots import FairSlots
from posthorn.runtime.holders import present_holder

_AT_ONCE, _AT_ONCE_EACH = 4, 2


@dataclass(frozen=True, slots=True)
class MessageQuery:
    """What a caller looks for; None: any."""

    q: str | None = None
    """An id, or addresses, domains, Message-IDs and words of the subject."""
    sender: str | None = None
    """The author or the reverse-path: an address or a domain."""
    recipient: str | None = None
    subject: str | None = None
    direction: str | None = None
    outcome: str | None = None
    reason: str | None = None
    after: datetime | None = None
    before: datetime | None = None
    tenant: str | None = None

    def which(self) -> MessageFilter:
        """Return the filter of the index."""
        message = _id_in(self.q)
        asked = [] if message is not None else asked_for(self.q or "")
        return MessageFilter(
            message,
            [*asked, *subject_words(self.subject or "")],
            self.sender,
            self.recipient,
            self.direction,
            self.outcome,
            self.reason,
            self.after,
            self.before,
            self.tenant,
        )


class SearchService:
    """Takes the caller's key and shows what its tenant sees. Raises Unavailable."""

    def __init__(self, index: MessageIndex) -> None:
        self._index = index
        self._slots = FairSlots("searches of messages", _AT_ONCE, most_each=_AT_ONCE_EACH, spare=1)

    async def messages(
        self, caller: ApiKey, query: MessageQuery, before: Place | None, limit: int
    ) -> Sequence[IndexedMessage]:
        """Return entries, those of the newest message first. Raises ValidationFailed."""
        async with self._slots.hold(present_holder()):
            return await self._index.search(caller.tenant, query.which(), before, limit)


def _id_in(text: str | None) -> UUID | None:
    text = (text or "").strip()
    try:
        return UUID(text) if len(text) == 36 else None
    except ValueError:
        return None
