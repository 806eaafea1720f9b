"""What each command does. A module of handlers has a table ``HANDLERS``; those of events that are
no commands (SASL, APPEND) are in ``EVENT_HANDLERS``.

A handler gets the session and the command, sends untagged replies through ``session.out``, and
returns an ``Answer``, or None when there is no tagged reply to send (it sent it, or none is due;
then it reports the outcome to the machine itself). It raises ``No``, ``Bad``, ``Drop``, and may let
Unavailable and MailboxGone through.
"""

from __future__ import annotations

from posthorn.wire.imap.commands import (
    Compress,
    Expunge,
    Fetch,
    Move,
    Notify,
    Search,
    Sort,
    Thread,
    UidBatches,
)
from posthorn.wire.imap.events import AppendEnd
from posthorn_imap.answering import Handler
from posthorn_imap.handlers import (
    appending,
    compressing,
    copying,
    expunging,
    fetching,
    general,
    idling,
    listing,
    logging_in,
    mailboxes,
    notifying,
    searching,
    selecting,
    sorting,
    storing,
)

HANDLERS: dict[type, Handler] = {
    **general.HANDLERS,
    **logging_in.HANDLERS,
    **listing.HANDLERS,
    **mailboxes.HANDLERS,
    **selecting.HANDLERS,
    **idling.HANDLERS,
    **compressing.HANDLERS,
    **notifying.HANDLERS,
    **fetching.HANDLERS,
    **storing.HANDLERS,
    **copying.HANDLERS,
    **expunging.HANDLERS,
    **searching.HANDLERS,
    **sorting.HANDLERS,
}
"""Command to handler."""
EVENT_HANDLERS: dict[type, Handler] = {
    **logging_in.EVENT_HANDLERS,
    **appending.EVENT_HANDLERS,
}
"""Event to handler."""

_NEEDED: dict[type, tuple[str, ...]] = {
    AppendEnd: ("MULTIAPPEND", "APPENDLIMIT", "REPLACE"),
    Compress: ("COMPRESS=DEFLATE",),
    Expunge: ("UIDPLUS",),
    Fetch: ("BINARY", "PREVIEW", "SAVEDATE", "PARTIAL"),
    Move: ("MOVE",),
    Notify: ("NOTIFY",),
    Search: ("ESEARCH", "SEARCHRES", "WITHIN", "INPROGRESS"),
    Sort: ("SORT", "SORT=DISPLAY", "ESORT"),
    Thread: ("THREAD=ORDEREDSUBJECT", "THREAD=REFERENCES"),
    UidBatches: ("UIDBATCHES",),
}
UNSERVED = frozenset(
    name
    for command, names in _NEEDED.items()
    if command not in HANDLERS and command not in EVENT_HANDLERS
    for name in names
)
"""Capabilities whose commands have no handler: they are shown to nobody."""
