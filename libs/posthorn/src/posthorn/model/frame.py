"""Frames: several ingest records in one stream message, written and synced together (ADR 34).

A frame is one line of JSON, ``{"v": 2, "lengths": [...]}``, a line feed, then the records, each with
the number of bytes that the line names. The version tells it from a record (``model.envelope``).
All records of a frame have the same publisher, which the subject proves for each of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise

from posthorn.model.envelope import RecordError
from posthorn.model.streams import MOST_IN_FRAME

_VERSION = 2


class FrameError(RecordError):
    """The bytes are not a frame: permanent."""


def encode_frame(records: Sequence[bytes]) -> bytes:
    """Return the frame of 1 to ``MOST_IN_FRAME`` records."""
    if not 0 < len(records) <= MOST_IN_FRAME:
        raise ValueError(f"a frame has 1 to {MOST_IN_FRAME} messages")
    line = {"v": _VERSION, "lengths": [len(record) for record in records]}
    return b"".join((json.dumps(line, separators=(",", ":")).encode(), b"\n", *records))


def decode_frame(data: bytes, messages: int) -> list[bytes]:
    """Return the records of a frame whose subject announces so many. Raises FrameError."""
    line, newline, records = data.partition(b"\n")
    try:
        document = json.loads(line)
        version, lengths = document["v"], document["lengths"]
        are_lengths = all(type(length) is int and length >= 0 for length in lengths)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FrameError(f"the frame's line does not read: {type(error).__name__}") from error
    if version != _VERSION:
        raise FrameError(f"the frame has version {version!r}; this release reads version 2")
    if (
        not newline
        or not are_lengths
        or len(lengths) != messages
        or not 0 < messages <= MOST_IN_FRAME
    ):
        raise FrameError(f"the frame does not hold the {messages} messages that it announces")
    bounds = list(accumulate(lengths, initial=0))
    if bounds[-1] != len(records):
        raise FrameError(f"the records have {len(records)} bytes, not {bounds[-1]}")
    return [records[start:end] for start, end in pairwise(bounds)]


def frame_id(message_ids: Iterable[str]) -> str:
    """Return the id by which the stream knows a frame sent twice: that of its messages, in
    order."""
    digest = hashlib.sha256("\n".join(message_ids).encode()).hexdigest()
    return f"frame.{digest[:32]}"
