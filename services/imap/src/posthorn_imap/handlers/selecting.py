"""SELECT, EXAMINE, CLOSE, UNSELECT (RFC 9051 §6.3.2, §6.4.1; RFC 7162 §3.2.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from posthorn.ports.errors import Unavailable
from posthorn.ports.mailbox_view import Opened
from posthorn.wire.imap import replies
from posthorn.wire.imap.commands import Close, Select, Unselect
from posthorn_imap.answering import Answer, Handler, No
from posthorn_imap.flags import permanent_flags
from posthorn_imap.handlers.expunging import expunge
from posthorn_imap.object_ids import mailbox_id
from posthorn_imap.resync import resync
from posthorn_imap.selected import Selected

if TYPE_CHECKING:
    from posthorn_imap.session import ImapSession


async def _select(session: ImapSession, command: Select) -> Answer:
    out = session.out
    if session.selected is not None:  # deselected even if SELECT fails (RFC 9051 §6.3.2)
        session.deselect()
        out.send(replies.untagged("OK", "the mailbox before is closed", b"CLOSED"))
    if command.condstore or command.qresync is not None:
        session.machine.enable("CONDSTORE")  # RFC 7162 §3.1
    found = await session.backend.view.open(session.account_id, command.mailbox)
    if found is None:
        raise No("there is no such mailbox", b"NONEXISTENT")
    mailbox, opened = found
    opened = session.context.watching.shared(session.account_id, mailbox, opened)
    selected = Selected(session.account_id, mailbox, opened, read_only=command.read_only)
    session.select(selected)
    try:
        _describe(session, selected, opened)
        if command.qresync is not None:
            await resync(session, selected, opened, command.qresync)
    except Unavailable:
        session.deselect()
        raise
    if command.read_only:
        return Answer("selected for reading", b"READ-ONLY", syncs=False)
    return Answer("selected", b"READ-WRITE", syncs=False)


def _describe(session: ImapSession, selected: Selected, opened: Opened) -> None:
    out = session.out
    out.send(replies.exists(len(opened.uids)))
    if not session.is_rev2:  # RFC 3501 §6.3.1
        out.send(replies.recent(0))
        if opened.first_unseen is not None:
            number = selected.numbering.number(opened.first_unseen)
            out.send(replies.untagged("OK", "first unseen message", b"UNSEEN %d" % number))
    names = permanent_flags(opened.keywords)
    out.send(b"* FLAGS %s\r\n" % replies.flags(names))
    kept = [] if selected.read_only else [*names, "\\*"]
    code = b"PERMANENTFLAGS " + replies.flags(kept)
    out.send(replies.untagged("OK", "flags that are kept", code))
    for words, code in (
        ("UIDs are valid", b"UIDVALIDITY %d" % opened.uidvalidity),
        ("next UID", b"UIDNEXT %d" % opened.uidnext),
        ("highest modification sequence", b"HIGHESTMODSEQ %d" % opened.modseq),
        ("mailbox id", b"MAILBOXID (%s)" % mailbox_id(selected.account, selected.mailbox).encode()),
    ):
        out.send(replies.untagged("OK", words, code))
    if session.is_rev2:
        out.send(replies.list_(opened.name, (), utf8=session.utf8))


async def _close(session: ImapSession, _: Close) -> Answer:
    selected = session.mailbox
    if not selected.read_only:
        await expunge(session, selected, None)  # if it fails, the mailbox stays selected
    session.deselect()
    return Answer("closed", syncs=False)


async def _unselect(session: ImapSession, _: Unselect) -> Answer:
    session.deselect()
    return Answer("closed, nothing is removed", syncs=False)


HANDLERS: dict[type, Handler] = {Select: _select, Close: _close, Unselect: _unselect}
"""Command to handler."""
