"""CAPABILITY, NOOP, CHECK, LOGOUT, ID, NAMESPACE, ENABLE."""

from __future__ import annotations

from typing import TYPE_CHECKING

from posthorn.wire.imap import replies
from posthorn.wire.imap.commands import Capability, Check, Enable, Id, Logout, Namespace, Noop
from posthorn_imap.answering import Answer, Handler

if TYPE_CHECKING:
    from posthorn_imap.session import ImapSession

ENABLEABLE = ("IMAP4rev2", "CONDSTORE", "QRESYNC", "UTF8=ACCEPT")
"""Capabilities that ENABLE enables (RFC 5161); others are ignored."""


async def _capability(session: ImapSession, _: Capability) -> Answer:
    session.out.send(replies.capability(session.capabilities()))
    return Answer("that is all", syncs=False)


async def _noop(session: ImapSession, _: Noop | Check) -> Answer:
    return Answer("done")


async def _logout(session: ImapSession, _: Logout) -> Answer:
    session.out.send(replies.untagged("BYE", "logging out"))
    session.deselect()
    session.end("logout")
    return Answer("bye", syncs=False)


async def _id(session: ImapSession, _: Id) -> Answer:
    session.out.send(replies.id_([("name", "Posthorn")]))
    return Answer("done", syncs=False)


async def _namespace(session: ImapSession, _: Namespace) -> Answer:
    session.out.send(replies.namespace())
    return Answer("done", syncs=False)


async def _enable(session: ImapSession, command: Enable) -> Answer:
    hidden = session.hidden
    before = session.machine.enabled
    wanted = [name for name in ENABLEABLE if name.upper() in command.names]
    session.machine.enable(*(name for name in wanted if name.upper() not in hidden))
    new = session.machine.enabled - before
    session.out.send(replies.enabled([name for name in ENABLEABLE if name.upper() in new]))
    return Answer("done", syncs=False)


HANDLERS: dict[type, Handler] = {
    Capability: _capability,
    Noop: _noop,
    Check: _noop,
    Logout: _logout,
    Id: _id,
    Namespace: _namespace,
    Enable: _enable,
}
"""Command to handler."""
