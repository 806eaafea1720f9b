"""What counts as reading a message, for its trace: a FETCH of all of it, with BODY[], RFC822 or
BINARY[], with or without PEEK, or of its last piece, since clients that fetch pieces begin at the
first one.

A connection records a message once, and at most ``MOST`` messages: it must remember them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from posthorn.ports.folders import ImapAccount
from posthorn.runtime.read_events import ReadEvents
from posthorn.wire.imap.fetch_items import BinaryItem, BodyItem, FetchItem, Section
from posthorn_imap.message_content import Row

MOST = 20_000
"""Most messages that a connection records as read."""
_ALL = Section()


class Reads:
    """The messages that one connection has read."""

    def __init__(self, events: ReadEvents, account: Callable[[], ImapAccount | None]) -> None:
        """``account``: returns that of the connection."""
        self._events = events
        self._account = account
        self._noted: set[int] = set()

    def sent(self, items: Sequence[FetchItem], rows: Iterable[Row]) -> None:
        """Record those of the messages that were sent to their end with these items. Never
        waits."""
        new = []
        for row in rows:
            if len(self._noted) >= MOST:
                break
            if row.message.int not in self._noted and reaches_end(items, row.size):
                self._noted.add(row.message.int)
                new.append(row.message)
        account = self._account()
        if new and account is not None:
            detail = {"account": account.address, "tenant": str(account.tenant)}
            self._events.note(new, detail)


def reaches_end(items: Iterable[FetchItem], size: int) -> bool:
    """Return whether a reply with these items has the end of a message of ``size`` bytes, in the
    sense above."""
    for item in items:
        match item:
            case BodyItem(section=section) if section != _ALL:
                continue
            case BinaryItem(part=part) if part:
                continue
            case BodyItem() | BinaryItem():
                if item.start is None or item.start < size <= item.start + item.count:
                    return True
            case _:
                continue
    return False
