"""Hints that mailboxes have changed, from whoever changed them to whoever shows them.

A hint is sent after the commit and may be lost: who shows a mailbox also asks now and then
(``MailboxView.moved_on``). It never holds up or fails what it is about.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

type Changed = tuple[int, int, int]
"""Account, mailbox, modseq; modseq 0: not known to the sender, ask."""


class MailboxHints(Protocol):
    """Sender and receiver of hints."""

    async def send(self, changed: Collection[Changed]) -> None:
        """Send hints, all in one message; without a connection they are lost."""
        ...

    async def listen(self, on_hint: Callable[[int, int, int], None]) -> None:
        """Call ``on_hint`` for every hint of all accounts from now on, until the context ends."""
        ...
