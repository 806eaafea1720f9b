"""SEARCH, UID SEARCH (RFC 9051 §6.4.4) and UIDBATCHES (RFC 9869).

Rules:

- Numbers mean what the client counted when it sent the command; then it is told what came since, so
  that a client that only searches hears of new mail. By number nothing loses its number.
- A NO empties ``$`` where SAVE was asked for, a BAD leaves it (RFC 5182 §2.1).
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from posthorn.ports.errors import Unavailable
from posthorn.wire.imap import replies
from posthorn.wire.imap.commands import Search, UidBatches
from posthorn.wire.imap.search_keys import mentions_modseq
from posthorn.wire.imap.sequence_set import LARGEST
from posthorn_imap import search_results, syncing
from posthorn_imap.answering import Answer, Handler, No
from posthorn_imap.pacing import Pace
from posthorn_imap.search_run import bound_key, find

if TYPE_CHECKING:
    from posthorn_imap.session import ImapSession

MOST_BATCHES = 10_000
"""Most batches of one answer."""
_LEAST_REFUSED = 500
"""Size of batches from which none is refused (RFC 9869)."""


async def _search(session: ImapSession, command: Search) -> Answer:
    try:
        if command.has_unknown_charset:
            raise No("this charset is not supported", b"BADCHARSET (UTF-8 US-ASCII)")
        await _answer(session, command)
    except (No, Unavailable):
        if "SAVE" in (command.returns or ()):
            session.mailbox.saved = array("I")
        raise
    return Answer("searched", tells_expunges=command.by_uid, syncs=False)


async def _answer(session: ImapSession, command: Search) -> None:
    modseq = mentions_modseq(command.key)
    if modseq and "CONDSTORE" not in session.hidden:
        session.machine.enable("CONDSTORE")  # RFC 7162 §3.1
    pace = Pace(session)
    key = bound_key(session, command.key)
    await syncing.sync(session, expunges=command.by_uid)
    least, greatest = search_results.enough(command, modseq=modseq)
    found = await find(session, key, pace, least=least, greatest=greatest)
    await search_results.send(session, command, found, pace, modseq=modseq)


async def _uid_batches(session: ImapSession, command: UidBatches) -> Answer:
    """Batches are counted from the highest UID on; each goes down to the lowest UID in it, and the
    next begins below that."""
    await syncing.sync(session, expunges=True)
    uids = session.mailbox.numbering.uids
    batches = -(-len(uids) // command.size)
    first, last = command.first, min(command.last or LARGEST, batches)
    if command.size < _LEAST_REFUSED and last - first >= MOST_BATCHES:
        raise No(f"an answer has at most {MOST_BATCHES} batches", b"LIMIT")
    found = []
    for batch in range(first, last + 1):
        end = len(uids) - (batch - 1) * command.size  # place after the highest
        start = max(end - command.size, 0)
        high = uids[end - 1] if batch == 1 else uids[end] - 1
        found.append((uids[start], high))
    session.out.send(replies.uid_batches(session.tag, found))
    return Answer("done", syncs=False)


HANDLERS: dict[type, Handler] = {Search: _search, UidBatches: _uid_batches}
"""Command to handler."""
