"""COPY, MOVE and their forms with UID (RFC 9051 §6.4.7 and §6.4.8, RFC 4315).

Rules:

- One transaction each: all messages that are still there, or none.
- COPYUID carries the validity of the target. After a MOVE it comes untagged, before the EXPUNGEs
  (RFC 6851 §4.3).
- UID COPY and UID MOVE of nothing are OK.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from posthorn.ports.mailbox_view import Copied
from posthorn.wire.imap import replies
from posthorn.wire.imap.commands import Copy, Move
from posthorn_imap import ranges, syncing
from posthorn_imap.answering import Answer, Handler, No
from posthorn_imap.changing import outcome_known, writable
from posthorn_imap.selected import Selected

if TYPE_CHECKING:
    from posthorn_imap.session import ImapSession


async def _copy(session: ImapSession, command: Copy) -> Answer:
    copied = await _transfer(session, session.mailbox, command, move=False)
    code = b"" if copied is None else _copy_uid(copied)
    return Answer("copied", code)


async def _move(session: ImapSession, command: Move) -> Answer:
    selected = writable(session)
    copied = await _transfer(session, selected, command, move=True)
    if copied is not None:
        session.out.send(replies.untagged("OK", "moved", _copy_uid(copied)))
        selected.remove(copied.sources)
        syncing.tell(session, expunges=True)
    return Answer("moved")


async def _transfer(
    session: ImapSession, selected: Selected, command: Copy | Move, *, move: bool
) -> Copied | None:
    """Copy or move; return None where no message was there."""
    places = await ranges.places_of(session, command.messages, by_uid=command.by_uid)
    uids = ranges.uids_at(selected.numbering, places)
    with outcome_known():
        copied = await session.backend.view.copy(
            selected.account, selected.mailbox, uids, command.mailbox, move=move
        )
    if copied is None:
        raise No("there is no such mailbox", b"TRYCREATE")
    if not copied.sources:
        if uids and not command.by_uid:
            raise No("the messages are gone", b"EXPUNGEISSUED")
        return None
    changed = [(selected.account, copied.target, copied.target_modseq)]
    if copied.source_modseq is not None:
        changed.append((selected.account, selected.mailbox, copied.source_modseq))
        if copied.target != selected.mailbox:
            selected.changed_to(copied.source_modseq)
    await session.backend.hints.send(changed)
    return copied


def _copy_uid(copied: Copied) -> bytes:
    return replies.copy_uid(copied.uidvalidity, copied.sources, copied.copies)


HANDLERS: dict[type, Handler] = {Copy: _copy, Move: _move}
"""Command to handler."""
