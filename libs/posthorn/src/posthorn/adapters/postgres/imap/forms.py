"""What is kept of a message beside its body: header, ENVELOPE, BODYSTRUCTURE (ADR 33).

Rules:

- A header is one zstd frame of at most ``LONGEST_HEADER_BYTES``; a longer one is not kept, nor is
  what takes more than ``LONGEST_KEPT_BYTES``.
- What is kept first stays: it depends on the message alone. Envelope and structure of another
  ``FORMS_VERSION`` are replaced.
- Rows are inserted in the order of message ids, and for messages that exist only.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

import zstandard

from posthorn.adapters.blobs.compression import zstd_frame
from posthorn.adapters.postgres.database import Connection
from posthorn.model.stored_header import LONGEST_HEADER_BYTES, LONGEST_KEPT_BYTES, packed_header
from posthorn.ports.mailbox_view import Kept
from posthorn.wire.message.header import header_end
from posthorn.wire.message.mime_encoding import VERSION

_of_thread = threading.local()  # making a decompressor costs more than a header
_ENVELOPE_VERSION = 1
FORMS_VERSION: Final = _ENVELOPE_VERSION << 8 | VERSION
"""Version of an envelope and a structure together."""

KEEP_HEADERS = """
    INSERT INTO message_headers (message_id, header)
    SELECT m.id, w.header FROM unnest($1::uuid[], $2::bytea[]) AS w (id, header) JOIN messages m ON m.id = w.id
     ORDER BY m.id
    ON CONFLICT (message_id) DO NOTHING
"""
"""Takes what ``frames`` returns: the keys and the values."""
_KEEP_FORMS = f"""
    INSERT INTO message_structures AS t (message_id, version, envelope, structure)
    SELECT m.id, {FORMS_VERSION}, w.envelope, w.structure
      FROM unnest($1::uuid[], $2::bytea[], $3::bytea[]) AS w (id, envelope, structure) JOIN messages m ON m.id = w.id
     ORDER BY m.id
    ON CONFLICT (message_id) DO UPDATE
       SET version = excluded.version,
           envelope = CASE WHEN t.version = excluded.version THEN coalesce(t.envelope, excluded.envelope)
                           ELSE excluded.envelope END,
           structure = CASE WHEN t.version = excluded.version THEN coalesce(t.structure, excluded.structure)
                            ELSE excluded.structure END
     WHERE t.version <> excluded.version OR t.envelope IS NULL AND excluded.envelope IS NOT NULL
        OR t.structure IS NULL AND excluded.structure IS NOT NULL
"""


async def keep_headers(connection: Connection, headers: Iterable[tuple[UUID, bytes]]) -> None:
    """Keep headers of messages, in the caller's transaction; too long ones are left out."""
    if made := frames(headers):
        await connection.execute(KEEP_HEADERS, list(made), list(made.values()))


def frames(headers: Iterable[tuple[UUID, bytes]]) -> dict[UUID, bytes]:
    """Return headers by message as they are kept; too long ones are left out."""
    made = {message: frame_of(header) for message, header in headers}
    return {message: frame for message, frame in made.items() if frame is not None}


def frame_of(header: bytes) -> bytes | None:
    """Return a header as it is kept; None for one that is too long."""
    return packed_header(header, zstd_frame)


async def keep_forms(connection: Connection, made: Sequence[Kept]) -> None:
    """Keep envelopes and structures of messages."""
    forms = {each.message: (_short(each.envelope), _short(each.structure)) for each in made}
    forms = {message: pair for message, pair in forms.items() if any(pair)}
    if forms:
        envelopes, structures = zip(*forms.values(), strict=True)
        await connection.execute(_KEEP_FORMS, list(forms), list(envelopes), list(structures))


def _short(form: bytes | None) -> bytes | None:
    return form if form is not None and len(form) <= LONGEST_KEPT_BYTES else None


def header_of(content: bytes) -> bytes | None:
    """Return the header of a message, the empty line included; None where it has no end within
    what is kept."""
    end = header_end(content[:LONGEST_HEADER_BYTES])
    return None if end < 0 else content[:end]


def decompressed(frame: bytes) -> bytes | None:
    """Return a header; None for one that is damaged or too long: it is in the body too."""
    decompressor = getattr(_of_thread, "decompressor", None)
    if decompressor is None:
        decompressor = _of_thread.decompressor = zstandard.ZstdDecompressor()
    try:
        if not 0 <= zstandard.frame_content_size(frame) <= LONGEST_HEADER_BYTES:
            return None
        header: bytes = decompressor.decompress(frame, max_output_size=LONGEST_HEADER_BYTES)
    except zstandard.ZstdError:
        return None
    return header
