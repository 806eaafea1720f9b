"""LIST, LSUB and STATUS (RFC 9051 §6.3.9, §6.3.11, RFC 5258, RFC 5819; RFC 3501 §6.3.9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from posthorn.ports.folders import Folder
from posthorn.wire.imap import replies
from posthorn.wire.imap.commands import List, Lsub, Status
from posthorn.wire.imap.mailbox_names import matches
from posthorn.wire.imap.search_keys import Flag
from posthorn.wire.imap.sequence_set import ranges_of
from posthorn_imap.answering import Answer, Handler, No
from posthorn_imap.folder_tree import FolderTree, Shown, Wanted
from posthorn_imap.object_ids import mailbox_id
from posthorn_imap.pacing import Pace

if TYPE_CHECKING:
    from posthorn_imap.session import ImapSession

_ROWS = 500
_MOST_PATTERNS = 20
_MOST_WILDCARDS = 10
"""Of all patterns of a command: to match a name takes time in proportion."""


async def _list(session: ImapSession, command: List) -> Answer:
    if command.patterns == ("",) and not command.is_extended:
        # the delimiter; the answer is that to an empty name (RFC 9051 §6.3.9)
        session.out.send(replies.list_("", ("\\Noselect",), utf8=session.utf8))
        return Answer("done", syncs=False)
    patterns = _patterns(command.reference, command.patterns)
    tree = FolderTree(await session.backend.folders.list(session.account_id))
    wanted = Wanted(
        lambda name: any(matches(pattern, name) for pattern in patterns),
        subscribed="SUBSCRIBED" in command.selection,
        special_use="SPECIAL-USE" in command.selection,
        recursive="RECURSIVEMATCH" in command.selection,
        tell_subscribed="SUBSCRIBED" in command.returns,
    )
    if "HIGHESTMODSEQ" in command.status:
        session.machine.enable("CONDSTORE")
    pace = Pace(session)
    for shown in tree.list_(wanted):
        if shown is not None:
            _show(session, shown)
            if command.status and shown.folder is not None:
                await _send_status(session, shown.folder, command.status)
        await pace.turn()
    return Answer("done", syncs=False)


async def _lsub(session: ImapSession, command: Lsub) -> Answer:
    (pattern,) = _patterns(command.reference, (command.pattern,))
    tree = FolderTree(await session.backend.folders.list(session.account_id))
    pace = Pace(session)
    for shown in tree.lsub(lambda name: matches(pattern, name)):
        if shown is not None:
            _show(session, shown, "LSUB")
        await pace.turn()
    return Answer("done", syncs=False)


async def _status(session: ImapSession, command: Status) -> Answer:
    folder = await session.backend.folders.find(session.account_id, command.mailbox)
    if folder is None:
        raise No("there is no such mailbox", b"NONEXISTENT")
    if "HIGHESTMODSEQ" in command.items:
        session.machine.enable("CONDSTORE")  # RFC 7162 §3.1
    await _send_status(session, folder, command.items)
    return Answer("done", syncs=False)


def _patterns(reference: str, patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Return the patterns with the reference in front."""
    wildcards = sum(each.count("*") + each.count("%") for each in (reference, *patterns))
    if len(patterns) > _MOST_PATTERNS or wildcards > _MOST_WILDCARDS * len(patterns):
        raise No("too many patterns or wildcards", b"LIMIT")
    return tuple(reference + pattern for pattern in patterns if pattern)


def _show(session: ImapSession, shown: Shown, command: str = "LIST") -> None:
    session.out.send(
        replies.list_(
            shown.name,
            shown.attributes,
            utf8=session.utf8,
            command=command,
            child_info=shown.child_info,
        )
    )


async def _send_status(session: ImapSession, folder: Folder, items: tuple[str, ...]) -> None:
    values: dict[str, int | str | None] = {
        "MESSAGES": folder.messages,
        "RECENT": 0,
        "UIDNEXT": folder.uidnext,
        "UIDVALIDITY": folder.uidvalidity,
        "UNSEEN": folder.unseen,
        "DELETED": folder.deleted,
        "SIZE": folder.octets,
        "HIGHESTMODSEQ": folder.modseq,
        "MAILBOXID": mailbox_id(session.account_id, folder.id),
        "APPENDLIMIT": session.context.limits.append_bytes,
    }
    if "DELETED-STORAGE" in items:
        values["DELETED-STORAGE"] = await _deleted_bytes(session, folder)
    found = [(item, values[item]) for item in items]
    session.out.send(replies.status(folder.name, found, utf8=session.utf8))


async def _deleted_bytes(session: ImapSession, folder: Folder) -> int:
    """Return the bytes of messages with ``\\Deleted`` (RFC 9208 §4.1.4)."""
    if not folder.deleted:
        return 0
    view = session.backend.view
    uids = await view.search(session.account_id, folder.id, Flag("\\Deleted"))
    total = 0
    for start in range(0, len(uids), _ROWS):
        ranges = ranges_of(uids[start : start + _ROWS])
        rows = await view.rows(session.account_id, folder.id, ranges)
        total += sum(row.size for row in rows)
    return total


HANDLERS: dict[type, Handler] = {List: _list, Lsub: _lsub, Status: _status}
"""Command to handler."""
