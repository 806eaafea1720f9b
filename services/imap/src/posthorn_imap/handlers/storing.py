"""STORE and UID STORE (RFC 9051 §6.4.6, RFC 7162 §3.1.3).

Rules:

- In pieces, so that a long one holds up nobody; each is one transaction. The time of a message grows
  with the keywords of the command times those that it has, so pieces are smaller where there are
  many.
- The replies tell what the command itself changed; it is not told again.
- After the client enabled CONDSTORE, MODSEQ is told also where the command is silent.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from posthorn.ports.mailbox_view import EntryFlags
from posthorn.wire.imap import fetch_replies, replies
from posthorn.wire.imap.commands import Store
from posthorn_imap import ranges, syncing
from posthorn_imap.answering import Answer, Handler, No
from posthorn_imap.changing import announce, outcome_known, writable
from posthorn_imap.flags import flags_form, split_flags
from posthorn_imap.selected import FEW_KEYWORDS, Selected

if TYPE_CHECKING:
    from posthorn_imap.session import ImapSession


async def _store(session: ImapSession, command: Store) -> Answer:
    selected = writable(session)
    if command.unchanged_since is not None and "CONDSTORE" not in session.hidden:
        session.machine.enable("CONDSTORE")
    places = await ranges.places_of(session, command.messages, by_uid=command.by_uid)
    uids = ranges.uids_at(selected.numbering, places)
    bits, keywords = split_flags(command.flags)
    failed: list[int] = []
    count, has_changed = 0, False
    at = 0
    while at < len(uids):
        most = max(selected.page // (1 + len(keywords) // FEW_KEYWORDS), 1)
        some = uids[at : at + most]
        at += most
        with outcome_known(has_changed=has_changed):
            stored = await session.backend.view.store(
                selected.account,
                selected.mailbox,
                some,
                command.action,
                bits,
                keywords,
                command.unchanged_since,
            )
        if stored.advanced:
            has_changed = True
            await announce(session, selected, stored.modseq)
        count += len(stored.changed) + len(stored.failed)
        failed += stored.failed
        await _tell(session, selected, command, stored.changed)
    if failed:
        shown = failed if command.by_uid else map(selected.numbering.number, failed)
        return Answer("done, but not for all", replies.modified(shown), command.by_uid, syncs=False)
    if count < len(uids) and not command.by_uid:
        raise No("some messages are gone", b"EXPUNGEISSUED")  # RFC 2180 §4.2
    return Answer("done", tells_expunges=command.by_uid, syncs=False)


async def _tell(
    session: ImapSession, selected: Selected, command: Store, changed: Iterable[EntryFlags]
) -> None:
    selected.note_told(changed)
    syncing.tell_new_keywords(session, selected, changed)
    if command.is_silent and not session.condstore:
        return
    for entry in changed:
        items: list[bytes] = []
        if command.by_uid or session.qresync:
            items.append(fetch_replies.uid(entry.uid))
        if not command.is_silent:
            items.append(flags_form(entry.flags, entry.keywords))
        if session.condstore:
            items.append(fetch_replies.modseq(entry.modseq))
        number = selected.numbering.number(entry.uid)
        session.out.send(fetch_replies.fetch(number, items))
    await session.out.room()


HANDLERS: dict[type, Handler] = {Store: _store}
"""Command to handler."""
