"""Where the next messages are, for a client that fetches one after the other.

mbsync, imapsync and others ask for each body with a command of its own. After two such commands in
a row the next messages are located together with the one that is asked for, and their bodies are
begun to be read. Before these have come to their end, more are located while the client takes what
it asked for; so nearly all of the commands that follow wait for the store no more.

What is known ahead is where a body is, which never changes but by compaction (the body is located
again then). It is used for ``SECONDS`` and while nothing is known to have changed in the mailbox; a
message that somebody removed meanwhile is still sent within that time, as RFC 2180 §4.1.1 allows
for one whose removal was not announced.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Coroutine, Mapping
from typing import Any

from posthorn.ports.mailbox_view import Content

MOST = 64
"""Messages that are located at once."""
SECONDS = 1.0
"""Seconds for which it is used."""
_tasks: set[asyncio.Task[None]] = set()


class ReadAhead:
    """What is known ahead of the messages of a selected mailbox."""

    __slots__ = ("_coming", "_found", "_last", "_modseq", "_reach", "_run", "_step", "_task")

    def __init__(self) -> None:
        self._found: dict[int, tuple[Content, float]] = {}  # and until when it is used
        self._modseq = 0
        self._last = -1  # place that was fetched last
        self._step = 0
        self._run = 0  # commands in a row
        self._reach = 0  # the first place in the direction of the run that is not asked for yet
        self._coming: Collection[int] = ()  # UIDs that are being located
        self._task: asyncio.Task[None] | None = None

    async def take(self, uid: int, modseq: int) -> Content | None:
        """Return where a message is, if that is known or about to be; ``modseq``: of the
        mailbox."""
        if uid in self._coming and self._task is not None:
            await asyncio.wait({self._task})
        if modseq != self._modseq:
            self._found.clear()
            return None
        content, until = self._found.pop(uid, (None, 0.0))
        return content if time.monotonic() <= until else None

    def note(self, place: int) -> None:
        """Note which message is fetched, alone."""
        step = place - self._last
        if step == self._step and self._run:
            self._run += 1
        else:
            self._run = 1 if step in (1, -1) and self._last >= 0 else 0
            self._forget()
        self._step, self._last = step, place

    def following(self, count: int) -> range:
        """Return the places that are worth to be located with the one noted last, of ``count``
        messages: as many as came in a row."""
        if self._run < 2:
            return range(0)
        return self._range(self._last + self._step, min(self._run, MOST), count)

    def due(self, count: int) -> range:
        """Return the places that are worth to be located now, before those that are known come to
        their end."""
        known = (self._reach - self._last) * self._step
        most = min(self._run, MOST)
        if self._run < 2 or known > most // 2 or self._coming:
            return range(0)
        return self._range(self._reach, most, count)

    def _range(self, start: int, most: int, count: int) -> range:
        end = min(max(start + self._step * (most - 1), -1), count)
        self._reach = end
        return range(start, end, self._step)

    def keep(self, found: Mapping[int, Content], modseq: int) -> None:
        """Keep where messages are; ``modseq``: of the mailbox before they were located."""
        self._forget()
        self._modseq = modseq
        self._add(found)

    def begin(
        self,
        uids: Collection[int],
        modseq: int,
        locating: Coroutine[Any, Any, Mapping[int, Content]],
    ) -> None:
        """Locate more while nobody waits for it; ``modseq``: of the mailbox. ``locating`` raises
        nothing."""
        if modseq != self._modseq:
            self._found.clear()
            self._modseq = modseq
        self._coming = uids
        self._task = asyncio.create_task(self._come(uids, locating))
        _tasks.add(self._task)
        self._task.add_done_callback(_tasks.discard)

    async def _come(
        self, uids: Collection[int], locating: Coroutine[Any, Any, Mapping[int, Content]]
    ) -> None:
        found = await locating
        if self._coming is uids:  # the client goes on as it did
            self._coming, self._task = (), None
            self._add(found)

    def _add(self, found: Mapping[int, Content]) -> None:
        until = time.monotonic() + SECONDS
        self._found |= {uid: (content, until) for uid, content in found.items()}

    def go_on(self, before: int, modseq: int) -> None:
        """Note that the connection's own change of flags has moved the mailbox's modseq."""
        if self._modseq == before:
            self._modseq = modseq

    def clear(self) -> None:
        """Forget all: the client does something else."""
        self._forget()
        self._run, self._last = 0, -1

    def _forget(self) -> None:
        self._found.clear()
        self._coming, self._task = (), None
