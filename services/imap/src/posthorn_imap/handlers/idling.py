"""IDLE (RFC 2177, RFC 9051 §6.3.13)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from posthorn.ports.errors import Unavailable
from posthorn.ports.mailbox_view import MailboxGone
from posthorn.wire.imap import replies
from posthorn.wire.imap.commands import Done, Idle
from posthorn_imap.answering import Answer, Handler

if TYPE_CHECKING:
    from posthorn_imap.session import ImapSession

log = structlog.get_logger()


async def _idle(session: ImapSession, _: Idle) -> None:
    # hints are heard since SELECT, so nothing is lost between what is told here and what comes
    if session.selected is not None:
        session.selected.ahead.clear()
    if session.selected is not None and session.tells_selected:
        try:
            await session.sync(expunges=True)
        except Unavailable as error:  # IDLE goes on; the next comparison tells it
            log.warning("changes not told", fault=error)
        except MailboxGone:
            session.mailbox_gone()
            return
    session.out.send(replies.continuation("idling"))


async def _done(_: ImapSession, __: Done) -> Answer:
    return Answer("idle is over")


HANDLERS: dict[type, Handler] = {Idle: _idle, Done: _done}
"""Command to handler."""
