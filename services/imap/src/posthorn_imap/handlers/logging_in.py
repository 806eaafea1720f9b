"""STARTTLS, LOGIN, and AUTHENTICATE with PLAIN, LOGIN, tokens and SCRAM (RFC 9051 §6.2, RFC 7628,
RFC 5802)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from posthorn.ports.access import Proof
from posthorn.ports.folders import ImapAccount
from posthorn.runtime.mail_login import ScramLogin, log_refused_login
from posthorn.wire.imap import replies
from posthorn.wire.imap.commands import Authenticate, Login, StartTls
from posthorn.wire.imap.events import SaslResponse
from posthorn.wire.imap.states import Channel
from posthorn.wire.sasl_bearer import BEARER_MECHANISMS, Bearer, read_bearer
from posthorn.wire.sasl_scram import SCRAM, read_first
from posthorn.wire.smtp.sasl import SaslError, Secret, read_login, read_plain
from posthorn_imap.answering import Handler
from posthorn_imap.logins import LoginFailed

if TYPE_CHECKING:
    from posthorn_imap.session import ImapSession


@dataclass(slots=True)
class ScramProgress:
    """An exchange of SCRAM under way."""

    login: ScramLogin[ImapAccount]
    admitted: tuple[ImapAccount, Proof] | None = None
    """Once the client has shown that it knows the password."""


async def _starttls(session: ImapSession, _: StartTls) -> None:
    session.out.send(replies.tagged(session.tag, "OK", "begin TLS"))
    await session.out.start_tls()  # the machine has discarded all input by now
    mechanisms = session.context.logins.mechanisms
    session.machine.secured(Channel(passwords=True, starttls=False, mechanisms=mechanisms))


async def _login(session: ImapSession, command: Login) -> None:
    await _log_in(session, Secret(command.name, command.password))


async def _authenticate(session: ImapSession, command: Authenticate) -> None:
    session.mechanism, session.sasl_name, session.declined = command.mechanism, b"", None
    session.scram = None
    if command.initial is None:
        prompt = b"Username:" if command.mechanism == "LOGIN" else b""
        session.out.send(session.machine.challenge(prompt))
    else:
        await _respond(session, command.initial)


async def _response(session: ImapSession, event: SaslResponse) -> None:
    await _respond(session, event.octets)


async def _respond(session: ImapSession, octets: bytes) -> None:
    """Take a response."""
    login: Secret | Bearer
    try:
        if session.declined is not None:
            _reject(session, session.declined)
            return
        if session.mechanism == SCRAM:
            await _respond_scram(session, octets)
            return
        if session.mechanism in BEARER_MECHANISMS:
            login = read_bearer(session.mechanism, octets)
        elif session.mechanism == "PLAIN":
            login = read_plain(octets)
        elif session.sasl_name:
            login = read_login(session.sasl_name, octets)
        else:
            session.sasl_name = octets
            if not octets:
                raise SaslError("the name is missing")
            session.out.send(session.machine.challenge(b"Password:"))
            return
    except SaslError as error:
        session.out.send(replies.tagged(session.tag, "BAD", str(error)))
        session.machine.rejected()
        return
    await _log_in(session, login)


async def _log_in(session: ImapSession, login: Secret | Bearer) -> None:
    logins = session.context.logins
    try:
        if isinstance(login, Bearer):
            account, proof = await logins.log_in_by_token(login, session.client)
        else:
            account, proof = await logins.log_in(
                login.name, login.password, session.client, acts_as=login.acts_as
            )
        _claim(session, account)
    except LoginFailed as failed:
        log_refused_login(failed.outcome, session.client)
        if failed.is_wrong:
            session.failures += 1
            await asyncio.sleep(session.context.limits.failure_delay)
            # the reason first, then NO (RFC 7628 §3.2.3), but not for ever
            is_explained = session.failures <= session.context.limits.login_attempts
            if isinstance(login, Bearer) and is_explained:
                session.declined = failed
                reason = logins.token_failure(login.mechanism)
                session.out.send(session.machine.challenge(reason))
                return
        _reject(session, failed)
        return
    _accept(session, account, proof)


async def _respond_scram(session: ImapSession, octets: bytes) -> None:
    """Take a response of SCRAM. Raises SaslError."""
    logins, progress = session.context.logins, session.scram
    try:
        if progress is None:
            # each exchange counts from its begin: one that is broken off costs a look-up too
            if session.failures >= session.context.limits.login_attempts:
                raise logins.wrong()
            login = await logins.begin_scram(read_first(octets), session.client)
            session.failures += 1
            session.scram = ScramProgress(login)
            session.out.send(session.machine.challenge(login.exchange.challenge))
            return
        if progress.admitted is None:
            progress.admitted = await logins.finish_scram(progress.login, octets)
            session.failures -= 1
            session.out.send(session.machine.challenge(progress.login.answer or b""))
            return
        if octets:
            raise SaslError("expected an empty response")
        account, proof = progress.admitted
        _claim(session, account)
    except LoginFailed as failed:
        log_refused_login(failed.outcome, session.client)
        if failed.is_wrong:
            await asyncio.sleep(session.context.limits.failure_delay)
        elif progress is not None and progress.admitted is None:
            session.failures -= 1  # no fault of the client's
        _reject(session, failed)
        return
    _accept(session, account, proof)


def _claim(session: ImapSession, account: ImapAccount) -> None:
    """Count the connection for its account. Raises LoginFailed."""
    if not session.out.claim(account.address, str(account.tenant)):
        session.out.unclaim()
        raise session.context.logins.too_many()


def _accept(session: ImapSession, account: ImapAccount, proof: Proof) -> None:
    session.account, session.proof = account, proof
    session.scram = None
    session.context.logins.began(session)
    session.machine.accepted()
    # with the capabilities, so that clients need not ask again (RFC 9051 §7.1)
    code = f"CAPABILITY {session.capabilities()}".encode()
    session.out.send(replies.tagged(session.tag, "OK", "logged in", code))


def _reject(session: ImapSession, failed: LoginFailed) -> None:
    session.out.send(replies.tagged(session.tag, "NO", failed.words, failed.code))
    session.machine.rejected()
    if session.failures >= session.context.limits.login_attempts:
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
