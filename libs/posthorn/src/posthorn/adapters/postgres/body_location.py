"""Where the body of a row's message is stored."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from posthorn.model.blob_range import BodyLocation


def as_location(row: Any, *, message: UUID | None = None, size: int | None = None) -> BodyLocation:
    """Make a location of a row of messages with the segment's ``key``; without a segment the key
    is empty and nothing is found.

    ``message`` and ``size`` are for rows in which ``message_id`` and ``size_crlf`` have other names.
    """
    return BodyLocation(
        message=row["message_id"] if message is None else message,
        key=row["key"],
        offset=row["offset_octets"],
        length=row["stored_octets"],
        encoding=row["encoding"],
        size=row["size_crlf"] if size is None else size,
        has_dot_lines=row["has_dot_lines"],
    )
