"""Changes of mailboxes, from whoever made them to the connections that have them selected.

Theory of operation:

- ``Watching`` has a table of the selected mailboxes of the process. A hint (``ports.mailbox_hints``)
  about a mailbox that is not in it costs a look-up; else the connections that have it selected are
  marked as behind.
- Connections in IDLE are told: what comes within GATHER_SECONDS is told together, to a few
  connections at a time, so that a wave of hints does not take all of the store. The others learn
  it with their next command.
- A hint may be lost, so every ``poll_seconds`` the modseqs of all selected mailboxes are compared
  with the store in one call.
- While nothing happens a connection costs nothing here but its entry.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace
from typing import Protocol

import structlog
from prometheus_client import Counter, Gauge

from posthorn.ports.errors import Unavailable
from posthorn.ports.mailbox_view import MailboxView, Opened
from posthorn_imap.selected import Selected

log = structlog.get_logger()

GATHER_SECONDS = 0.05
AT_ONCE = 8
"""Connections that are told at the same time."""
PATIENCE_SECONDS = 2.0
"""How long a connection has its place among these: a client that takes nothing holds up nobody."""

_mailboxes = Gauge("posthorn_imap_selected_mailboxes", "Mailboxes that connections have selected")
_hints = Counter(
    "posthorn_imap_hints_total", "Hints that a selected mailbox has changed", ["source"]
)
_by_hint, _by_poll = _hints.labels("hint"), _hints.labels("poll")


class Watcher(Protocol):
    """A connection with a selected mailbox."""

    @property
    def selected(self) -> Selected | None:
        """The mailbox."""
        ...

    @property
    def is_idling(self) -> bool:
        """Whether it is in IDLE, and wants to be told at once."""
        ...

    async def tell_now(self) -> None:
        """Tell the client what changed."""
        ...


class Watching:
    """The selected mailboxes of this process."""

    def __init__(self, view: MailboxView, *, poll_seconds: float = 30.0) -> None:
        self._view = view
        self._poll_seconds = poll_seconds
        self._watchers: dict[tuple[int, int], set[Watcher]] = {}
        self._due: deque[Watcher] = deque()
        self._tellers: set[asyncio.Task[None]] = set()
        self._slow: set[asyncio.Task[None]] = set()
        """Connections that are told at this moment, also those that have lost their place."""
        self._gathering: asyncio.TimerHandle | None = None

    def enter(self, watcher: Watcher, selected: Selected) -> None:
        """Watch the mailbox that a connection has selected."""
        self._watchers.setdefault((selected.account, selected.mailbox), set()).add(watcher)
        _mailboxes.set(len(self._watchers))

    def shared(self, account: int, mailbox: int, opened: Opened) -> Opened:
        """Return the state of a mailbox with its array of UIDs shared with a connection that has
        the same one: a million messages take 4 MB, and people have several devices."""
        if not opened.uids:
            return opened
        for watcher in self._watchers.get((account, mailbox), ()):
            selected = watcher.selected
            if selected is not None and selected.numbering.uids == opened.uids:
                return replace(opened, uids=selected.numbering.share())
        return opened

    def leave(self, watcher: Watcher, selected: Selected) -> None:
        """Watch it no more for this connection."""
        key = selected.account, selected.mailbox
        watchers = self._watchers.get(key)
        if watchers is not None:
            watchers.discard(watcher)
            if not watchers:
                del self._watchers[key]
                _mailboxes.set(len(self._watchers))

    def hint(self, account: int, mailbox: int, modseq: int) -> None:
        """Note that a mailbox has changed; modseq 0: it is not known how far."""
        watchers = self._watchers.get((account, mailbox))
        if watchers is not None:
            _by_hint.inc()
            self._mark(watchers, modseq)

    async def keep_polling(self) -> None:
        """Compare forever; run as a supervised task."""
        while True:
            await asyncio.sleep(self._poll_seconds)
            await self.poll()

    async def poll(self) -> None:
        """Compare all selected mailboxes with the store."""
        asked = [
            (account, mailbox, min(each.selected.modseq for each in watchers if each.selected))
            for (account, mailbox), watchers in self._watchers.items()
            if any(each.selected for each in watchers)
        ]
        if not asked:
            return
        try:
            moved = await self._view.moved_on(asked)
        except Unavailable as error:
            log.warning("mailboxes not compared", part=error.part, detail=str(error))
            return
        for key, modseq in moved.items():
            if (watchers := self._watchers.get(key)) is not None:
                _by_poll.inc()
                self._mark(watchers, modseq or 0)

    async def close(self) -> None:
        """Tell nobody any more."""
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        tasks = self._tellers | self._slow
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _mark(self, watchers: set[Watcher], modseq: int) -> None:
        for watcher in watchers:
            selected = watcher.selected
            if selected is not None and selected.hear_of(modseq) and watcher.is_idling:
                self._due.append(watcher)
        if self._due and self._gathering is None:
            self._gathering = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._start)

    def _start(self) -> None:
        self._gathering = None
        self._due = deque(dict.fromkeys(self._due))
        while len(self._tellers) < min(AT_ONCE, len(self._due)):
            task = asyncio.create_task(self._tell(), name="imap changes")
            self._tellers.add(task)
            task.add_done_callback(self._tellers.discard)

    async def _tell(self) -> None:
        while self._due:
            watcher = self._due.popleft()
            selected = watcher.selected
            if selected is None or not selected.is_behind or not watcher.is_idling:
                continue  # it has learned it meanwhile, or will with its next command
            telling = asyncio.create_task(_told(watcher), name="imap connection told")
            self._slow.add(telling)
            telling.add_done_callback(self._slow.discard)
            await asyncio.wait([telling], timeout=PATIENCE_SECONDS)  # others come next


async def _told(watcher: Watcher) -> None:
    try:
        await watcher.tell_now()
    except Exception:
        log.exception("a connection could not be told what changed")
