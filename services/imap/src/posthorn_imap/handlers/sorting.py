"""SORT, THREAD and their forms with UID (RFC 5256, RFC 5267 §3, RFC 5957).

The rules of SEARCH hold (``handlers.searching``). Threads are made in another thread of the process.
"""

from __future__ import annotations

import asyncio
from array import array
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from posthorn.ports.errors import Unavailable
from posthorn.wire.imap.commands import Sort, Thread
from posthorn.wire.imap.search_keys import SearchKey, mentions_modseq
from posthorn.wire.imap.threads import by_references, by_subject, format_threads
from posthorn_imap import search_order, search_results, syncing
from posthorn_imap.answering import Answer, Handler, No
from posthorn_imap.pacing import Pace
from posthorn_imap.search_run import Hits, bound_key, find

if TYPE_CHECKING:
    from posthorn_imap.session import ImapSession

_THREADS_OF_PIECE = 500


async def _sort(session: ImapSession, command: Sort) -> Answer:
    pace = Pace(session)
    try:
        found = await _found(session, command.key, pace, by_uid=command.by_uid)
        async with AsyncExitStack() as stack:
            if search_order.needs_headers(command.criteria) and found:
                slots = session.context.searches
                await stack.enter_async_context(slots.slot(session.mailbox.account, pace))
            ordered = await search_order.in_order(session, command.criteria, found, pace)
    except (No, Unavailable):
        if "SAVE" in (command.returns or ()):  # RFC 5182 §2.1
            session.mailbox.saved = array("I")
        raise
    modseq = mentions_modseq(command.key)
    await search_results.send(session, command, ordered, pace, modseq=modseq)
    return Answer("sorted", tells_expunges=command.by_uid, syncs=False)


async def _thread(session: ImapSession, command: Thread) -> Answer:
    pace = Pace(session)
    found = await _found(session, command.key, pace, by_uid=command.by_uid)
    async with session.context.searches.slot(session.mailbox.account, pace):
        messages = await search_order.threaded(session, found, pace, by_uid=command.by_uid)
    algorithm = by_references if command.algorithm == "REFERENCES" else by_subject
    threads = await asyncio.to_thread(algorithm, messages)
    session.out.send(b"* THREAD" + (b" " if threads else b""))
    for count, form in enumerate(format_threads(threads), 1):
        session.out.send(form)
        if count % _THREADS_OF_PIECE == 0:
            await session.out.room()
            await pace.turn()
    session.out.send(b"\r\n")
    return Answer("threaded", tells_expunges=command.by_uid, syncs=False)


async def _found(session: ImapSession, key: SearchKey, pace: Pace, *, by_uid: bool) -> Hits:
    if mentions_modseq(key) and "CONDSTORE" not in session.hidden:
        session.machine.enable("CONDSTORE")
    bound = bound_key(session, key)
    await syncing.sync(session, expunges=by_uid)
    return await find(session, bound, pace)


HANDLERS: dict[type, Handler] = {Sort: _sort, Thread: _thread}
"""Command to handler."""
