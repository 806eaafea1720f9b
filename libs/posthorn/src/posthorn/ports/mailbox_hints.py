"""Hints that mailboxes have changed, from whoever changed them to whoever shows them.

A hint is sent after the commit and may be lost: who shows a mailbox also asks now and then
(``MailboxView.moved_on``). It never holds up or fails what it is about.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

type Changed = tuple[int, int, int]
"""Account, mailbox, modseq; modseq 0: not known to the sender, ask."""
FOLDERS = 0
"""In place of a mailbox: the account's list of mailboxes or subscriptions has changed."""
type Announce = Callable[[Collection[Changed]], None]
"""Sends hints soon, from the event loop; returns at once and raises nothing."""


def announce_nothing(_: Collection[Changed]) -> None:
    """Send no hints."""


class LateHints:
    """Sends hints once there is something to send them by; before, they are lost."""

    def __init__(self) -> None:
        self._announce: Announce = announce_nothing

    def set(self, announce: Announce) -> None:
        """Send hints from now on."""
        self._announce = announce

    def announce(self, changed: Collection[Changed]) -> None:
        """Send hints soon; an ``Announce``."""
        self._announce(changed)


class MailboxHints(Protocol):
    """Sender and receiver of hints."""

    async def send(self, changed: Collection[Changed]) -> None:
        """Send hints, all in one message; without a connection they are lost."""
        ...

    def announce(self, changed: Collection[Changed]) -> None:
        """Send hints soon; an ``Announce``. What comes within a moment goes in one message."""
        ...

    async def listen(self, on_hint: Callable[[int, int, int], None]) -> None:
        """Call ``on_hint`` for every hint of all accounts from now on, until the context ends."""
        ...
