"""The session of the submission role: nothing is taken before a login, and a failed one takes time (RFC 4954, RFC 6409 §4.3)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from posthorn.wire.smtp import replies as smtp
from posthorn.wire.smtp.commands import Auth, CommandError, Mail, parse_response
from posthorn.wire.smtp.replies import Reply
from posthorn.wire.smtp.sasl import PASSWORD_PROMPT, USERNAME_PROMPT, SaslError, Secret, read_login, read_plain
from posthorn_smtp_in.connection import Edge, HangUp
from posthorn_smtp_in.session import Session
from posthorn_smtp_in.submission import Submission

LONGEST_PENALTY = 8.0
"""Seconds before a failed login is answered, at most."""


class SubmissionSession(Session):
    """One client's session."""

    def __init__(self, edge: Edge, submission: Submission, *, secure: bool = False, client: str | None = None) -> None:
        super().__init__(edge, secure=secure, client=client)
        self._submission = submission
        self._failures = 0

    @property
    def life(self) -> float:
        """Seconds until a login."""
        return self._submission.rules.submission_login_seconds

    @property
    def _offers_login(self) -> bool:
        return self._submission.takes_passwords(self.client)

    async def _auth(self, command: Auth) -> None:
        if self.client.login is not None:
            self._error(smtp.LOGIN_DONE)
        elif not self._offers_login:
            self._error(smtp.NEEDS_TLS)
        elif command.mechanism not in ("PLAIN", "LOGIN"):
            self._error(smtp.NO_MECHANISM)
        else:
            try:
                secret = await self._secret(command)
            except CommandError as error:
                self._error(error.reply)
            except SaslError:
                self._error(smtp.NOT_BASE64)
            else:
                await self._log_in(secret)

    async def _secret(self, command: Auth) -> Secret:
        if command.mechanism == "PLAIN":
            return read_plain(await self._response("") if command.initial is None else command.initial)
        name = await self._response(USERNAME_PROMPT) if command.initial is None else command.initial
        return read_login(name, await self._response(PASSWORD_PROMPT))

    async def _response(self, prompt: str) -> bytes:
        self.reply(smtp.challenge(prompt))
        return parse_response(await self.line())

    async def _log_in(self, secret: Secret) -> None:
        reply = await self._submission.log_in(secret, self.client)
        if reply in (smtp.LOGIN_FAILED, smtp.LOGIN_THROTTLED):
            await self._failed(reply)
            return
        if reply is smtp.LOGGED_IN and self.client.login is not None:
            known = self.client.login.credentials
            if not self.edge.gate.claim(self, known.address, str(known.tenant)):
                self.client.login = None
                self._submission.refused(smtp.LOGIN_TOO_MANY, self.client)
                self.reply(smtp.LOGIN_TOO_MANY)
                return
            self._submission.opened(self)
            self._ends_at = self._began_at + self.settings.smtp_session_seconds
        self.reply(reply)

    def revoke(self) -> None:
        """End: what the session logged in with does not hold any more. A message that is being kept is answered first."""
        self.hang_up(smtp.REVOKED)

    async def obey(self, line: bytes) -> None:
        """Do what a command line says."""
        if self.client.login is not None and self.client.login.revoked:
            raise HangUp(smtp.REVOKED)
        await super().obey(line)

    def _leave(self) -> None:
        self._submission.left(self)
        super()._leave()

    async def _failed(self, reply: Reply) -> None:
        rules = self._submission.rules
        await self.penalty(min(rules.submission_failure_delay_seconds * 2**self._failures, LONGEST_PENALTY))
        self._failures += 1
        self.reply(reply)
        if self._failures >= rules.submission_login_attempts:
            self._submission.refused(smtp.LOGIN_GIVEN_UP, self.client)
            raise HangUp(smtp.LOGIN_GIVEN_UP)

    async def _mail(self, command: Mail) -> None:
        if self.client.login is None:
            self._error(smtp.LOGIN_FIRST)
        else:
            await super()._mail(command)

    _commands: ClassVar[dict[type, Callable[[Any, Any], Awaitable[None]]]] = Session._commands | {
        Auth: _auth,
        Mail: _mail,
    }
