"""Hints of this process: to its own connections at once, and to all others over the adapter that is
there once NATS is. Until then other processes find changes by their comparison."""

from __future__ import annotations

from collections.abc import Callable, Collection

from posthorn.ports.mailbox_hints import Changed, MailboxHints


class ProcessHints:
    """The sending half of the port MailboxHints."""

    def __init__(self, on_hint: Callable[[int, int, int], None]) -> None:
        """``on_hint`` hears of every change that is sent, at once."""
        self._on_hint = on_hint
        self._others: MailboxHints | None = None

    def connect(self, others: MailboxHints | None) -> None:
        """Send to other processes from now on, or no more."""
        self._others = others

    async def send(self, changed: Collection[Changed]) -> None:
        """Send hints; none fails."""
        for each in changed:
            self._on_hint(*each)
        if self._others is not None and changed:
            await self._others.send(changed)
