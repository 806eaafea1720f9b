"""Text before the header of a message: lines of an mbox file, and a byte order mark.

Scripts and old relays pass on a message as in an mbox file, its ``From `` line first. That line is
not a field, so that the whole header would be taken for text. It becomes a field, if a field
follows: a text that begins with the word From is unchanged.
"""

from __future__ import annotations

from posthorn.wire.message.header import starts_with_field

LEAD_LIMIT = 1000
"""Bytes within which it must be clear whether a first line is a header field."""
FIELD = b"X-Mailbox-Line: "
"""The field that such a line becomes, as in other mail servers."""

_BOM = b"\xef\xbb\xbf"
_WORDS = (b"From ", b">From ")
_MOST_LINES = 5


class HeadTooShort(Exception):
    """More bytes are needed to decide."""


def header_first(head: bytes, *, more: bool) -> bytes | None:
    """Return the bytes with a field first, unchanged if they begin with one; None if there is no
    field.

    ``head`` has CRLF line ends. With ``more`` it is only the beginning; raises HeadTooShort when it
    is too short to decide.
    """
    at = len(_BOM) if head.startswith(_BOM) else 0
    _wait(more and len(head) < len(_BOM) and _BOM.startswith(head))
    made: list[bytes] = []
    while len(made) < _MOST_LINES and head.startswith(_WORDS, at):
        end = head.find(b"\r\n", at, at + LEAD_LIMIT)
        if end < 0:
            _wait(more and len(head) - at < LEAD_LIMIT)
            return None
        made.append(FIELD + head[at : end + 2])
        at = end + 2
    rest = head[at : at + LEAD_LIMIT]
    if starts_with_field(rest):
        return head if at == 0 else b"".join((*made, head[at:]))
    _wait(more and len(rest) < LEAD_LIMIT and b"\r\n" not in rest)
    return None


def _wait(is_short: bool) -> None:
    if is_short:
        raise HeadTooShort
