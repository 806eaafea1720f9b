"""What each command does. A module of handlers has a table ``HANDLERS``; those of events that are
no commands (SASL, APPEND) are in ``EVENT_HANDLERS``.

A handler gets the session and the command, sends untagged replies through ``session.out``, and
returns an ``Answer``, or None when there is no tagged reply to send (it sent it, or none is due;
then it reports the outcome to the machine itself). It raises ``No``, ``Bad``, ``Drop``, and may let
Unavailable and MailboxGone through.
"""

from __future__ import annotations

from posthorn_imap.answering import Handler
from posthorn_imap.handlers import general

HANDLERS: dict[type, Handler] = {**general.HANDLERS}
"""Command to handler."""
EVENT_HANDLERS: dict[type, Handler] = {}
"""Event to handler."""
