"""Where the next messages are, for a client that fetches one after the other.

mbsync, imapsync and others ask for each body with a command of its own. After two such commands in
a row the next messages are located together with the one that is asked for, and their bodies are
begun to be read; so most of the commands that follow ask the store nothing.

What is known ahead is where a body is, which never changes but by compaction (the body is located
again then). It is used for ``SECONDS`` and while nothing is known to have changed in the mailbox; a
message that somebody removed meanwhile is still sent within that time, as RFC 2180 §4.1.1 allows
for one whose removal was not announced.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from posthorn.ports.mailbox_view import Content

MOST = 64
"""Messages that are located at once."""
SECONDS = 1.0
"""Seconds for which it is used."""


class ReadAhead:
    """What is known ahead of the messages of a selected mailbox."""

    __slots__ = ("_found", "_last", "_modseq", "_run", "_step", "_until")

    def __init__(self) -> None:
        self._found: dict[int, Content] = {}
        self._modseq = 0
        self._until = 0.0
        self._last = -1  # place that was fetched last
        self._step = 0
        self._run = 0  # commands in a row

    def take(self, uid: int, modseq: int) -> Content | None:
        """Return where a message is, if that is known; ``modseq``: of the mailbox."""
        if not self._found:
            return None
        if modseq != self._modseq or time.monotonic() > self._until:
            self._found.clear()
            return None
        return self._found.pop(uid, None)

    def note(self, place: int) -> None:
        """Note which message is fetched, alone."""
        step = place - self._last
        if step in (1, -1) and self._last >= 0:
            self._run = self._run + 1 if step == self._step else 1
        else:
            self._run = 0
            self._found.clear()
        self._step, self._last = step, place

    def following(self, count: int) -> range:
        """Return the places that are worth to be located with the one noted last, of ``count``
        messages: as many as came in a row."""
        if self._run < 2:
            return range(0)
        end = self._last + self._step * min(self._run, MOST)
        return range(self._last + self._step, min(max(end, -1), count), self._step)

    def keep(self, found: Mapping[int, Content], modseq: int) -> None:
        """Keep where messages are; ``modseq``: of the mailbox before they were located."""
        self._found = dict(found)
        self._modseq = modseq
        self._until = time.monotonic() + SECONDS

    def go_on(self, before: int, modseq: int) -> None:
        """Note that the connection's own change of flags has moved the mailbox's modseq."""
        if self._modseq == before:
            self._modseq = modseq

    def clear(self) -> None:
        """Forget all: the client does something else."""
        self._found.clear()
        self._run, self._last = 0, -1
