"""EXPUNGE and UID EXPUNGE (RFC 9051 §6.4.3, RFC 4315 §2.1), and the expunge of CLOSE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from posthorn.ports.errors import Unavailable
from posthorn.ports.mailbox_view import Expunged, UidRange
from posthorn.wire.imap.commands import Expunge
from posthorn_imap import ranges, syncing
from posthorn_imap.answering import Answer, Handler
from posthorn_imap.changing import announce, outcome_known, writable
from posthorn_imap.selected import Selected

if TYPE_CHECKING:
    from posthorn_imap.session import ImapSession

log = structlog.get_logger()


async def expunge(
    session: ImapSession, selected: Selected, uids: Sequence[UidRange] | None
) -> Expunged:
    """Remove messages with ``\\Deleted``, all or those in ranges of UIDs, and tell nothing: CLOSE does
    so too. Raises Drop, MailboxGone."""
    with outcome_known():
        expunged = await session.backend.view.expunge(selected.account, selected.mailbox, uids)
    if expunged.uids:
        await announce(session, selected, expunged.modseq)
    return expunged


async def _expunge(session: ImapSession, command: Expunge) -> Answer:
    selected = writable(session)
    asked = None
    if command.uids is not None:
        asked = ranges.uids_of(selected, command.uids)
    expunged = await expunge(session, selected, asked)
    selected.remove(expunged.uids)
    code = b""
    try:
        await syncing.learn(session)
        if session.condstore and expunged.uids:
            code = b"HIGHESTMODSEQ %d" % selected.modseq  # RFC 7162 §3.2.7: all of it is told
    except Unavailable as error:  # the command has succeeded; the rest is told later
        log.warning("changes not told", fault=error)
    syncing.tell(session, expunges=True)
    return Answer("expunged", code, syncs=False)


HANDLERS: dict[type, Handler] = {Expunge: _expunge}
"""Command to handler."""
