"""Changes of mailboxes, from whoever made them to the connections that have them selected.

Theory of operation:

- ``Watching`` has a table of the selected mailboxes of the process. A hint (``ports.mailbox_hints``)
  about a mailbox that is not in it costs a look-up; else the connections that have it selected are
  marked as behind.
- Connections in IDLE are told: what comes within GATHER_SECONDS is told together, to a few
  connections at a time, so that a wave of hints does not take all of the store. The others learn
  it with their next command.
- Connections that used NOTIFY are in a table by account, and told in the same way, of all mailboxes
  that they asked for (``notifications``); in a command, at its end.
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
from posthorn_imap.notifications import Notifications
from posthorn_imap.selected import Selected

log = structlog.get_logger()

GATHER_SECONDS = 0.05
AT_ONCE = 8
"""Connections that are told at the same time."""
PATIENCE_SECONDS = 2.0
"""How long a connection has its place among these: a client that takes nothing holds up nobody."""
POLLS_OF_FOLDERS = 10
"""Comparisons after which also lists of mailboxes are compared, where NOTIFY asked for them."""

_mailboxes = Gauge("posthorn_imap_selected_mailboxes", "Mailboxes that connections have selected")
_hints = Counter(
    "posthorn_imap_hints_total", "Hints that a selected mailbox has changed", ["source"]
)
_by_hint, _by_poll = _hints.labels("hint"), _hints.labels("poll")


class Watcher(Protocol):
    """A connection with a selected mailbox, or one that used NOTIFY."""

    @property
    def selected(self) -> Selected | None:
        """The mailbox."""
        ...

    @property
    def notify(self) -> Notifications | None:
        """What it asked for with NOTIFY."""
        ...

    @property
    def has_news(self) -> bool:
        """Whether there is something that it wants to be told at once."""
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
        self._accounts: dict[int, set[Watcher]] = {}
        self._polls = 0
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

    def enter_account(self, watcher: Watcher, account: int) -> None:
        """Watch all mailboxes of an account, for a connection that used NOTIFY."""
        self._accounts.setdefault(account, set()).add(watcher)

    def leave_account(self, watcher: Watcher, account: int) -> None:
        """Watch them no more for this connection."""
        watchers = self._accounts.get(account)
        if watchers is not None:
            watchers.discard(watcher)
            if not watchers:
                del self._accounts[account]

    def queue(self, watcher: Watcher) -> None:
        """Tell a connection soon, if there is something to tell."""
        if watcher.has_news:
            self._due.append(watcher)
            self._gather()

    def hint(self, account: int, mailbox: int, modseq: int) -> None:
        """Note that a mailbox has changed; modseq 0: it is not known how far."""
        watchers = self._watchers.get((account, mailbox))
        if watchers is not None:
            _by_hint.inc()
            self._mark(watchers, modseq)
        self._mark_account(account, mailbox, modseq)

    async def keep_polling(self) -> None:
        """Compare forever; run as a supervised task."""
        while True:
            await asyncio.sleep(self._poll_seconds)
            await self.poll()

    async def poll(self) -> None:
        """Compare all selected mailboxes with the store."""
        asked = {
            key: min(each.selected.modseq for each in watchers if each.selected)
            for key, watchers in self._watchers.items()
            if any(each.selected for each in watchers)
        }
        self._polls += 1
        for account, watchers in self._accounts.items():
            for watcher in watchers:
                if (notify := watcher.notify) is None:
                    continue
                if self._polls % POLLS_OF_FOLDERS == 0:
                    notify.is_behind = True
                self.queue(watcher)  # also what could not be read the last time
                for mailbox, modseq in notify.watched.items():
                    key = account, mailbox
                    asked[key] = min(asked.get(key, modseq), modseq)
        if not asked:
            return
        try:
            moved = await self._view.moved_on([(*key, modseq) for key, modseq in asked.items()])
        except Unavailable as error:
            log.warning("mailboxes not compared", fault=error)
            return
        for key, now in moved.items():
            if (selecting := self._watchers.get(key)) is not None:
                _by_poll.inc()
                self._mark(selecting, now or 0)
            self._mark_account(*key, now or 0)

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
            if selected is not None and selected.hear_of(modseq) and watcher.has_news:
                self._due.append(watcher)
        self._gather()

    def _mark_account(self, account: int, mailbox: int, modseq: int) -> None:
        for watcher in self._accounts.get(account, ()):
            notify, selected = watcher.notify, watcher.selected
            if notify is None or (modseq and selected and selected.mailbox == mailbox):
                continue
            if notify.hear_of(mailbox, modseq) and watcher.has_news:
                self._due.append(watcher)
        self._gather()

    def _gather(self) -> None:
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
            if not watcher.has_news:
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
