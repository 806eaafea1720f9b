"""Search for messages, whatever happened to them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from posthorn.model.search_terms import asked_for, subject_words
from posthorn.ports.api_keys import ApiKey
from posthorn.ports.errors import FieldError, ValidationFailed
from posthorn.ports.listing import Key, Listed, ListQuery
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
        self, caller: ApiKey, query: MessageQuery, asked: ListQuery
    ) -> Listed[IndexedMessage]:
        """Return a page of entries, those of the newest message first unless the order is
        ``received``. Raises ValidationFailed."""
        which, limit = query.which(), asked.limit
        after = None if asked.after is None else _place(asked.after)
        async with self._slots.hold(present_holder()):
            found = await self._index.search(
                caller.tenant, which, after, limit + 1, oldest_first=asked.order == "received"
            )
            total = await self._index.total(caller.tenant, which) if asked.with_total else None
        last = (_key(found[limit - 1]),) if len(found) > limit else None
        return Listed(found[:limit], last, total)


def _key(entry: IndexedMessage) -> str:
    return f"{entry.message} {entry.tenant or '-'} {entry.recipient}"


def _place(key: Key) -> Place:
    """Return the place in a cursor. Raises ValidationFailed."""
    message, _, rest = str(key[0] if len(key) == 1 else "").partition(" ")
    tenant, _, recipient = rest.partition(" ")
    try:
        return UUID(message), None if tenant == "-" else UUID(tenant), recipient
    except ValueError:
        raise ValidationFailed(FieldError("cursor", "not a next_cursor of this list")) from None


def _id_in(text: str | None) -> UUID | None:
    text = (text or "").strip()
    try:
        return UUID(text) if len(text) == 36 else None
    except ValueError:
        return None
