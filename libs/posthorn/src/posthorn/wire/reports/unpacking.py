"""Reports as they travel: an attachment of a message, packed or not.

Rules:

- The media type is not trusted: what the bytes begin with says whether they are gzip, zip or
  neither.
- Unpacked bytes are bounded, in number and in their ratio to the packed ones, so that a small
  message cannot fill the memory.
- Of a zip archive the first file of a bounded number is read; encrypted ones are refused.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from posthorn.wire.message.mime import Part, scan_message
from posthorn.wire.message.transfer_decoding import transfer_decoder

UNPACKED_LIMIT = 20 * 1024 * 1024
"""Bytes of an unpacked report."""
MOST_RATIO = 400
"""Unpacked bytes for each packed one, beyond ``_FREE_BYTES``."""
_FREE_BYTES = 1024 * 1024
_MOST_FILES = 10
_MOST_ATTACHMENTS = 20
_PIECE = 64 * 1024


class ReportError(ValueError):
    """The content is not a report that can be read: permanent. The text says why."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A decoded leaf of a message."""

    type: str
    """Media type, in lower case."""
    name: str
    """File name, may be empty."""
    content: bytes


def attachments(message: bytes) -> Iterator[Attachment]:
    """Yield the decoded leaves of a message, in order, a bounded number."""
    leaves = [part for _, part in scan_message(message).walk() if not part.parts]
    for part in leaves[:_MOST_ATTACHMENTS]:
        yield Attachment(part.fields.type, part.fields.file_name or "", _decoded(message, part))


def unpacked(content: bytes) -> bytes:
    """Return the content of a gzip or zip file, or the content itself. Raises ReportError."""
    if content.startswith(b"\x1f\x8b"):
        return _gunzip(content)
    if content.startswith(b"PK\x03\x04"):
        return _unzip(content)
    if len(content) > UNPACKED_LIMIT:
        raise ReportError(f"the report is larger than {UNPACKED_LIMIT} bytes")
    return content


def _decoded(message: bytes, part: Part) -> bytes:
    decoder = transfer_decoder(part.fields.encoding)
    stored = message[part.body_offset : part.body_offset + part.body_bytes]
    return decoder.feed(stored) + decoder.finish()


def _limit(packed: int) -> int:
    return min(UNPACKED_LIMIT, _FREE_BYTES + packed * MOST_RATIO)


def _gunzip(content: bytes) -> bytes:
    found, rest, limit = bytearray(), content, _limit(len(content))
    while rest.startswith(b"\x1f\x8b"):
        decoder = zlib.decompressobj(wbits=31)
        try:
            found += decoder.decompress(rest, limit + 1 - len(found))
        except zlib.error as error:
            raise ReportError("the gzip file is damaged") from error
        if len(found) > limit:
            raise ReportError(f"the report unpacks to more than {limit} bytes")
        if not decoder.eof:  # cut short: what is there may still be a report
            break
        rest = decoder.unused_data
    return bytes(found)


def _unzip(content: bytes) -> bytes:
    limit = _limit(len(content))
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            files = [each for each in archive.infolist()[:_MOST_FILES] if not each.is_dir()]
            if not files:
                raise ReportError("the zip file holds no file")
            with archive.open(files[0]) as file:
                found = bytearray()
                while piece := file.read(_PIECE):
                    found += piece
                    if len(found) > limit:
                        raise ReportError(f"the report unpacks to more than {limit} bytes")
    except ReportError:
        raise
    except (
        zipfile.BadZipFile,
        zlib.error,
        OSError,
        EOFError,
        ValueError,
        RuntimeError,  # encrypted
        NotImplementedError,
        LookupError,
        OverflowError,
    ) as error:
        raise ReportError("the zip file is damaged or encrypted") from error
    return bytes(found)
