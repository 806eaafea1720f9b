"""STARTTLS, LOGIN, and AUTHENTICATE with PLAIN and LOGIN (RFC 9051 §6.2)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from posthorn.wire.imap import replies
from posthorn.wire.imap.commands import Authenticate, Login, StartTls
from posthorn.wire.imap.events import SaslResponse
from posthorn.wire.imap.states import Channel
from posthorn.wire.smtp.sasl import SaslError, Secret, read_login, read_plain
from posthorn_imap.answering import Handler
from posthorn_imap.logins import LoginFailed

if TYPE_CHECKING:
    from posthorn_imap.session import ImapSession

log = structlog.get_logger()


async def _starttls(session: ImapSession, _: StartTls) -> None:
    session.out.send(replies.tagged(session.tag, "OK", "begin TLS"))
    await session.out.start_tls()  # the machine has discarded all input by now
    session.machine.secured(Channel(passwords=True, starttls=False))


async def _login(session: ImapSession, command: Login) -> None:
    await _log_in(session, command.name, command.password)


async def _authenticate(session: ImapSession, command: Authenticate) -> None:
    session.sasl_name = None if command.mechanism == "LOGIN" else b""
    if command.initial is None:
        prompt = b"Username:" if command.mechanism == "LOGIN" else b""
        session.out.send(session.machine.challenge(prompt))
    else:
        await _respond(session, command.initial)


async def _response(session: ImapSession, event: SaslResponse) -> None:
    await _respond(session, event.octets)


async def _respond(session: ImapSession, octets: bytes) -> None:
    """Take a response. ``sasl_name``: None where LOGIN has no name yet, empty for PLAIN."""
    try:
        if session.sasl_name is None:
            session.sasl_name = octets
            if not octets:
                raise SaslError("the name is missing")
            session.out.send(session.machine.challenge(b"Password:"))
            return
        secret: Secret = (
            read_login(session.sasl_name, octets) if session.sasl_name else read_plain(octets)
        )
    except SaslError as error:
        session.out.send(replies.tagged(session.tag, "BAD", str(error)))
        session.machine.rejected()
        return
    await _log_in(session, secret.name, secret.password, secret.acts_as)


async def _log_in(session: ImapSession, name: str, password: str, acts_as: str = "") -> None:
    logins = session.context.logins
    try:
        account, proof = await logins.log_in(name, password, session.client, acts_as=acts_as)
        if not session.out.claim(account.address, str(account.tenant)):
            session.out.unclaim()
            raise logins.too_many()
    except LoginFailed as failed:
        await _failed(session, failed)
        return
    session.account, session.proof = account, proof
    logins.began(session)
    session.machine.accepted()
    # with the capabilities, so that clients need not ask again (RFC 9051 §7.1)
    code = f"CAPABILITY {session.capabilities()}".encode()
    session.out.send(replies.tagged(session.tag, "OK", "logged in", code))


async def _failed(session: ImapSession, failed: LoginFailed) -> None:
    log.info("login refused", outcome=failed.outcome, client=session.client)
    limits = session.context.limits
    if failed.is_wrong:
        session.failures += 1
        await asyncio.sleep(limits.failure_delay)
    session.out.send(replies.tagged(session.tag, "NO", failed.words, failed.code))
    session.machine.rejected()
    if session.failures >= limits.login_attempts:
        session.out.send(replies.untagged("BYE", "too many failed logins"))
        session.end("login failed")


HANDLERS: dict[type, Handler] = {
    StartTls: _starttls,
    Login: _login,
    Authenticate: _authenticate,
}
"""Command to handler."""
EVENT_HANDLERS: dict[type, Handler] = {SaslResponse: _response}
"""Event to handler."""
