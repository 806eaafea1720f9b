"""Where the sections of a message are (RFC 9051 §6.4.5.1).

A section that does not exist is None, never the whole message. Ranges are offsets of the message
as stored, so that only these bytes need to be read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from posthorn.wire.imap.fetch_items import Section
from posthorn.wire.message.mime_offsets import Part

type ByteRange = tuple[int, int]
"""First byte, and the one after the last."""


def find_part(message: Part, number: Sequence[int]) -> Part | None:
    """Return the part of a number; the empty number is the message.

    A message that is no multipart has part 1, itself. The parts of a message within a message
    begin with the number of its part.
    """
    part = message
    is_message = True  # whether part is a message, whose own body is its part 1
    for place in number:
        if not is_message and part.is_message:
            part, is_message = part.parts[0], True
        if part.is_multipart:
            if not 1 <= place <= len(part.parts):
                return None
            part = part.parts[place - 1]
        elif not is_message or place != 1:
            return None
        is_message = False
    return part


def find_section(message: Part, section: Section) -> ByteRange | None:
    """Return where a section is; of HEADER.FIELDS the whole header, from which ``select_fields``
    takes the fields. None when there is no such section."""
    part = find_part(message, section.part)
    if part is None:
        return None
    if not section.text:
        return (part.body, part.end) if section.part else (part.header, part.end)
    if section.text == "MIME":
        return part.header, part.body
    if section.part:
        if not part.is_message:
            return None
        part = part.parts[0]
    return (part.body, part.end) if section.text == "TEXT" else (part.header, part.body)


def take_partial(found: ByteRange, start: int | None, count: int) -> ByteRange:
    """Return the part of a range that a partial asks for; empty past its end."""
    if start is None:
        return found
    first, end = found
    begin = min(first + start, end)
    return begin, min(begin + count, end)


def select_fields(header: bytes, names: Sequence[bytes], *, others: bool = False) -> bytes:
    """Return the fields of these names as they are, or all ``others``, with the empty line that
    ends a header, even when nothing matched."""
    if not header.endswith(b"\n"):
        header += b"\r\n"
    if sum(map(len, names)) <= _MOST_NAME_BYTES:
        found = _selector(tuple(names), others).findall(b"\n" + header)
    else:
        wanted = {name.lower() for name in names}
        found = [
            field
            for field in _FIELD.findall(b"\n" + header)
            if (_name_of(field) in wanted) is not others
        ]
    if not found:
        return b"\r\n"
    return b"".join(found)[1:] + b"\n\r\n"


_MOST_NAME_BYTES = 1024  # of names that become a pattern, which is kept; clients ask for some 200
_FIELD = re.compile(rb"\n(?![ \t\r\n])[^\n]+(?:\n[ \t][^\n]*)*")


def _name_of(field: bytes) -> bytes:
    """Return the name of a field in lower case; empty for a line that is no field."""
    name, colon, _ = field[1:].partition(b":")
    return name.rstrip(b" \t").lower() if colon else b""


@lru_cache(maxsize=256)
def _selector(names: tuple[bytes, ...], others: bool) -> re.Pattern[bytes]:
    """Return the pattern of such fields, each with the line end before it and without its own."""
    wanted = b"(?:%s)[ \t]*:" % b"|".join(re.escape(name) for name in names)
    start = rb"\n(?![ \t\r\n])(?!%s)" if others else rb"\n(?=%s)"
    start %= wanted
    return re.compile(start + rb"[^\n]+(?:\n[ \t][^\n]*)*", re.IGNORECASE)
