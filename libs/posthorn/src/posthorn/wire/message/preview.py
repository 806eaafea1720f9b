"""The first words of a message, for lists of messages (RFC 8970).

The text is that of the first text/plain part, otherwise of the first text/html part without its
mark-up; attachments and enclosed messages have no say. Nothing fails.
"""

from __future__ import annotations

from collections.abc import Iterator

from posthorn.wire.message.charsets import decode_unlabelled
from posthorn.wire.message.mime_offsets import Part
from posthorn.wire.message.transfer_decoding import transfer_decoder
from posthorn.wire.spam.markup import read_markup

PREVIEW_CHARACTERS = 200
"""Most characters of a preview (RFC 8970 §3.2: 200 are recommended, 256 the most)."""
READ_BYTES = 32 * 1024
"""Bytes of the part, as stored, that are read for it."""


def preview_part(message: Part) -> Part | None:
    """Return the part whose text is shown; None where there is none."""
    found: Part | None = None
    for part in _leaves(message):
        kind = part.fields.kind
        if kind == b"text/plain":
            return part
        if kind == b"text/html" and found is None:
            found = part
    return found


def preview_text(part: Part, octets: bytes) -> str:
    """Return the preview; ``octets``: the beginning of the part's body, as stored."""
    decoder = transfer_decoder(part.fields.encoding.decode("latin-1").lower())
    data = decoder.feed(octets) + decoder.finish()
    text = decode_unlabelled(data, part.fields.parameter(b"charset").decode("latin-1"))
    if part.fields.kind == b"text/html":
        text = read_markup(text).text
    words = "".join(each if each.isprintable() else " " for each in text[: 20 * PREVIEW_CHARACTERS])
    return " ".join(words.split())[:PREVIEW_CHARACTERS].rstrip()


def _leaves(part: Part) -> Iterator[Part]:
    if part.is_multipart:
        for each in part.parts:
            yield from _leaves(each)
    elif not part.is_message and (part.fields.disposition or b"").lower() != b"attachment":
        yield part
