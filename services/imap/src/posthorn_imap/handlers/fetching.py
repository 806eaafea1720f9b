"""FETCH and UID FETCH (RFC 9051 §6.4.5, RFC 7162 §3.1.4 and §3.2.6, RFC 9394).

Rules:

- Numbers mean what the client was told. Of a message that is gone meanwhile nothing is sent; FETCH
  by number then ends with NO [EXPUNGEISSUED] (RFC 2180 §4.1.2), UID FETCH with OK.
- A body that cannot be read is NO [UNAVAILABLE]; the other messages are served, up to
  ``MOST_FAILURES``. A message that breaks off ends the connection.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from posthorn.wire.imap.commands import Fetch
from posthorn.wire.imap.fetch_items import Attribute, FetchItem
from posthorn_imap import ranges
from posthorn_imap.answering import Answer, Handler, No
from posthorn_imap.fetch_forms import UnknownEncoding
from posthorn_imap.fetch_plan import plan
from posthorn_imap.fetch_run import BrokenOffError, FetchRun
from posthorn_imap.ranges import Places

if TYPE_CHECKING:
    from posthorn_imap.session import ImapSession


async def _fetch(session: ImapSession, command: Fetch) -> Answer | None:
    is_modseq = command.changed_since is not None or Attribute.MODSEQ in command.items
    if is_modseq and "CONDSTORE" not in session.hidden:
        session.machine.enable("CONDSTORE")  # RFC 7162 §3.1
    places = await ranges.places_of(session, command.messages, by_uid=command.by_uid)
    places = await ranges.changed(session, command, places)
    run = FetchRun(
        session,
        plan(command.items, by_uid=command.by_uid, modseq=command.changed_since is not None),
        command.changed_since or 0,
    )
    try:
        await run.send(places)
    except BrokenOffError:
        session.ending = "a message broke off"
        session.out.cut()
        return None
    if run.failed:
        raise No("some messages cannot be read at this moment, try again", b"UNAVAILABLE")
    if run.unknown_encoding:
        raise UnknownEncoding
    if run.gone and not command.by_uid and command.changed_since is None:
        raise No("some messages are gone", b"EXPUNGEISSUED")
    # where some are gone, all of the mailbox may be
    return Answer("done", tells_expunges=command.by_uid, syncs=run.gone > 0)


async def send_items(session: ImapSession, items: tuple[FetchItem, ...], places: Places) -> None:
    """Send items of messages unasked, with their UIDs; no message becomes seen by it. What cannot
    be read is left out; if a message breaks off, the connection ends. Raises Unavailable."""
    run = FetchRun(session, replace(plan(items, by_uid=True, modseq=False), sets_seen=False), 0)
    session.is_sending_items = True
    try:
        await run.send(places)
    except BrokenOffError:
        session.ending = "a message broke off"
        session.out.cut()
    finally:
        session.is_sending_items = False


HANDLERS: dict[type, Handler] = {Fetch: _fetch}
"""Command to handler."""
