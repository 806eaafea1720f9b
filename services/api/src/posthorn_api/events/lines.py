"""Lines of the stream of events, each read once.

A recorder that got no acknowledgement sends its events again, in other bundles: lines that were
read lately are left out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

import structlog

from posthorn.model.events import Event, EventError, decode_event, share_of
from posthorn.runtime.json_bytes import loads

log = structlog.get_logger()

REMEMBERED = 100_000


class Line(NamedTuple):
    """An event that was not read lately."""

    sequence: int
    """Of the stream's message that it stands in."""
    event: Event
    is_new: bool
    """Whether it stands behind what its share has reached."""


class RecentLines:
    """Decodes lines, and remembers the last ``REMEMBERED``. ``read_id`` reads the ids of
    messages."""

    def __init__(self, read_id: Callable[[str], UUID]) -> None:
        self._read_id = read_id
        self._seen: OrderedDict[int, None] = OrderedDict()

    def clear(self) -> None:
        """Forget all lines: they come again."""
        self._seen.clear()

    def decode(
        self, positions: Mapping[int, int], messages: Sequence[tuple[int, bytes]]
    ) -> tuple[list[Line], set[int]]:
        """Decode the lines of the shares in ``positions`` but those read lately. Return them, and
        the shares that have new lines, read lately or not."""
        found: list[Line] = []
        shares: set[int] = set()
        seen = self._seen
        for sequence, data in messages:
            for line in data.split(b"\n"):
                share = share_of(line)
                position = positions.get(share)
                # SipHash with a key of this process: two lines of the last 100,000 have the same
                # one with a probability of 3e-10
                digest = hash(line)
                if position is None or not line:
                    continue
                if sequence > position:
                    shares.add(share)
                if digest in seen:
                    continue
                seen[digest] = None
                try:
                    event = decode_event(line, loads=loads, read_id=self._read_id)
                except EventError as error:
                    log.warning("an event cannot be decoded", detail=str(error))
                    continue
                found.append(Line(sequence, event, sequence > position))
        while len(seen) > REMEMBERED:
            seen.popitem(last=False)
        return found, shares
