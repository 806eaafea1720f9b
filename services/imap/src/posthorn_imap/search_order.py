"""The messages found in the order of SORT, and what THREAD knows of them (RFC 5256, RFC 5957).

Rules:

- Texts are compared as searches compare them (``fold``). Without the field they are empty.
- DATE is the Date field with its zone, or the internal date where that is missing or not valid.
- Equal messages are in the order of their numbers, also where a criterion is reversed.
- Headers of at most ``MOST_MESSAGES`` are read for one command: NO [LIMIT]. Texts are compared by
  their first ``KEY_CHARACTERS``, and THREAD keeps ``MOST_REFERENCE_BYTES`` of references.
"""

from __future__ import annotations

import heapq
import unicodedata
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from posthorn.ports.mailbox_view import EntryRow
from posthorn.runtime.search_content import CONTENTS, SearchContent, off_loop
from posthorn.wire.imap.addresses import parse_addresses
from posthorn.wire.imap.sequence_set import ranges_of
from posthorn.wire.imap.threads import Threaded, message_ids, references
from posthorn.wire.message.base_subject import base_subject
from posthorn.wire.message.date_field import sent_at
from posthorn.wire.message.header_decoding import decode_text
from posthorn.wire.message.mime_content import clean
from posthorn.wire.message.searchable import field_values, fold, unfolded
from posthorn_imap.answering import No
from posthorn_imap.pacing import Pace

if TYPE_CHECKING:
    from posthorn_imap.session import ImapSession

MOST_MESSAGES = 100_000
"""Most messages whose headers are read for one SORT or THREAD."""
KEY_CHARACTERS = 256
MOST_REFERENCE_BYTES = 256 * 1024 * 1024
"""Memory of all message ids of one THREAD: a message may name a thousand."""
_ID_BYTES = 64  # of a text beside its characters
_ROWS = 1000
_CHUNK = 5000
_OF_STORE = frozenset({"ARRIVAL", "SIZE"})
_ADDRESSES = {"FROM": "from", "TO": "to", "CC": "cc", "DISPLAYFROM": "from", "DISPLAYTO": "to"}

type Key = str | float


def needs_headers(criteria: Sequence[tuple[str, bool]]) -> bool:
    """Return whether the store alone cannot answer."""
    return any(name not in _OF_STORE for name, _ in criteria)


async def in_order(
    session: ImapSession, criteria: Sequence[tuple[str, bool]], found: Sequence[int], pace: Pace
) -> list[int]:
    """Return the UIDs in order; those that are gone are left out. Raises Unavailable, No."""
    first: dict[str, bool] = {}
    for name, is_reversed in criteria:  # a second time it says nothing
        first.setdefault(name, is_reversed)
    criteria = list(first.items())
    columns: list[list[Key]] = [[] for _ in criteria]
    uids: list[int] = []
    async for row, header in _messages(session, found, pace, headers=needs_headers(criteria)):
        uids.append(row.uid)
        keys = await off_loop(len(header), _keys, criteria, row, header)
        for column, key in zip(columns, keys, strict=True):
            column.append(key)
    ranks: list[list[int]] = []
    for column, (_, is_reversed) in zip(columns, criteria, strict=True):
        order = await _sorted(set(column), pace)
        places = {key: -place if is_reversed else place for place, key in enumerate(order)}
        ranks.append([places[key] for key in column])
        await pace.turn()
    keyed = await _sorted(zip(*ranks, uids, strict=True), pace)
    return [key[-1] for key in keyed]


async def threaded(
    session: ImapSession, found: Sequence[int], pace: Pace, *, by_uid: bool
) -> list[Threaded]:
    """Return the messages as threads are made of them. Raises Unavailable, No."""
    numbering = session.mailbox.numbering
    messages: list[Threaded] = []
    held = 0
    async for row, header in _messages(session, found, pace, headers=True):
        number = row.uid if by_uid else numbering.number(row.uid)
        message = await off_loop(len(header), _threaded, row, header, number)
        held += sum(len(each) + _ID_BYTES for each in message.references)
        if held > MOST_REFERENCE_BYTES:
            raise No("the messages have too many references, ask for less", b"LIMIT")
        messages.append(message)
    return messages


async def _messages(
    session: ImapSession, found: Sequence[int], pace: Pace, *, headers: bool
) -> AsyncIterator[tuple[EntryRow, bytes]]:
    """Yield rows with headers."""
    if headers and len(found) > MOST_MESSAGES:
        raise No(f"more than {MOST_MESSAGES} messages, ask for less", b"LIMIT")
    selected = session.mailbox
    view = session.backend.view
    content = SearchContent(view, session.backend.bodies, selected.account, selected.mailbox)
    size = min(CONTENTS if headers else _ROWS, selected.page)
    for at in range(0, len(found), size):
        some = found[at : at + size]
        rows = await view.rows(selected.account, selected.mailbox, ranges_of(some))
        contents = await content.locate(some) if headers else {}
        for row in rows:
            header: bytes | None = b""
            if headers:
                held = contents.get(row.uid)
                header = None if held is None else await content.header(row.uid, held)
            if header is not None:
                yield row, header
            if pace.is_over:
                await pace.turn(at, len(found))
        await content.keep()


def _keys(criteria: Sequence[tuple[str, bool]], row: EntryRow, header: bytes) -> list[Key]:
    return [_key(name, row, header) for name, _ in criteria]


def _key(name: str, row: EntryRow, header: bytes) -> Key:
    match name:
        case "ARRIVAL":
            return row.internal_date.timestamp()
        case "SIZE":
            return row.size
        case "DATE":
            return _sent(row, header)
        case "SUBJECT":
            return _collated(base_subject(_first(header, "subject"))[0])
        case _:
            return _address(header, _ADDRESSES[name], display=name.startswith("DISPLAY"))


def _sent(row: EntryRow, header: bytes) -> float:
    moment = sent_at(_first(header, "date")) or row.internal_date
    return moment.timestamp()


def _first(header: bytes, name: str) -> str:
    return next(field_values(header, name), "")


def _address(header: bytes, name: str, *, display: bool) -> str:
    """Return the local part of the first address, or what is displayed of it."""
    value = clean(_first(header, name).encode("utf-8", "replace"))
    addresses = parse_addresses(value) if value else []
    if not addresses:
        return ""
    first = addresses[0]
    local, host = (unfolded(part or b"") for part in (first.mailbox, first.host))
    if not display:
        return _collated(local)
    shown = decode_text(unfolded(first.name)) if first.name else ""
    return _collated(shown or (f"{local}@{host}" if host else local))


def _collated(text: str) -> str:
    """Return a text as texts are ordered: a letter with a mark comes after the letter alone, not
    after all others (RFC 5051 has the idea)."""
    folded = fold(text[:KEY_CHARACTERS])
    return folded if folded.isascii() else unicodedata.normalize("NFKD", folded)


def _threaded(row: EntryRow, header: bytes, number: int) -> Threaded:
    subject, is_reply = base_subject(_first(header, "subject"))
    return Threaded(
        number,
        _sent(row, header),
        fold(subject),
        is_reply,
        next(iter(message_ids(_first(header, "message-id"))), ""),
        references(_first(header, "references"), _first(header, "in-reply-to")),
    )


async def _sorted(items: Iterable[Any], pace: Pace) -> list[Any]:
    """Sort in slices: one sort of a hundred thousand texts would stop the event loop for long."""
    held = list(items)
    if len(held) <= _CHUNK:
        return sorted(held)
    parts = []
    for at in range(0, len(held), _CHUNK):
        parts.append(sorted(held[at : at + _CHUNK]))
        await pace.turn()
    merged: list[Any] = []
    for item in heapq.merge(*parts):
        merged.append(item)
        if len(merged) % 1000 == 0:
            await pace.turn()
    return merged
