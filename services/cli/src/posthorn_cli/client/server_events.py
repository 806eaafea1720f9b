"""Server-sent events (WHATWG HTML §9.2.6), as far as the API sends them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class ServerEvent(NamedTuple):
    """A message of a stream of events."""

    id: str
    """The id to resume after; empty: none was sent yet."""
    name: str
    """Empty: an event of a message; else something about the connection."""
    data: str


def read_events(pieces: Iterable[bytes]) -> Iterator[ServerEvent]:
    """Yield the messages in the bytes of a stream. Those without data give an id alone, with an
    empty name and empty data."""
    rest, number, name, data = b"", "", "", []
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for raw in lines:
            line = raw.decode("utf-8", "replace")
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "id":
                number = value
            elif field == "event":
                name = value
            elif field == "data":
                data.append(value)
            elif not line:
                yield ServerEvent(number, name, "\n".join(data))
                name, data = "", []
