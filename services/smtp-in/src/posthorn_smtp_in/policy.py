"""What a session asks of its role, and the policy of the role mx: mail for the domains served here,
from anybody.

Rules:

- A policy decides; it knows no connection and no state of the protocol. The policy of the role
  submission is in ``submission``.
- Strangers are not offered DSN (RFC 3461), as a report that is asked for goes to whomever they name
  (ADR 20).
"""

from __future__ import annotations

from functools import partial
from typing import Protocol

from posthorn.wire.auth.authentication_results import without_ours
from posthorn.wire.sasl_bearer import Bearer
from posthorn.wire.smtp import replies as smtp
from posthorn.wire.smtp.commands import Mail, Rcpt
from posthorn.wire.smtp.replies import Reply
from posthorn.wire.smtp.sasl import Secret
from posthorn_smtp_in.acceptance import Acceptance, from_stranger
from posthorn_smtp_in.defence import ConnectionDefence
from posthorn_smtp_in.message_buffer import MessageBuffer
from posthorn_smtp_in.recipients import Recipients
from posthorn_smtp_in.refusals import record_refusal
from posthorn_smtp_in.scan_replies import REFUSED_BY_VERDICT
from posthorn_smtp_in.scanning import Scanning
from posthorn_smtp_in.settings import SmtpSettings
from posthorn_smtp_in.spool_limits import SpoolLimits
from posthorn_smtp_in.transaction import Client, Transaction


class Revocable(Protocol):
    """A session that is logged in."""

    client: Client

    def revoke(self) -> None:
        """End now: what the session logged in with is not valid any more."""
        ...


class Auth(Protocol):
    """Logins of a role that takes them."""

    login_seconds: float
    """From connection to login."""
    attempts: int
    """Failed logins on one connection at which it is closed."""
    failure_delay_seconds: float
    """Before the first failed login is answered; doubled by each further one on the connection."""

    mechanisms: tuple[str, ...]
    """SASL mechanisms where passwords may be sent."""

    def takes_passwords(self, client: Client) -> bool:
        """Return whether a password may be sent on this connection."""
        ...

    async def log_in(self, secret: Secret, client: Client) -> Reply:
        """Judge a login; one that is right is entered with the client."""
        ...

    async def log_in_by_token(self, bearer: Bearer, client: Client) -> Reply:
        """The same with a token."""
        ...

    def token_failure(self, mechanism: str) -> bytes:
        """Return the challenge after a token that was refused."""
        ...

    def opened(self, session: Revocable) -> None:
        """Watch a session that is logged in, until ``closed``."""
        ...

    def closed(self, session: Revocable) -> None:
        """Forget a session; one that was never logged in is no error."""
        ...


class Policy(Protocol):
    """The decisions of a role."""

    @property
    def auth(self) -> Auth | None:
        """Logins; None: AUTH is not offered."""
        ...

    @property
    def offers_dsn(self) -> bool:
        """Whether DSN (RFC 3461) is offered. What is asked for all the same is honoured as far
        as ADR 20 says."""
        ...

    @property
    def defence(self) -> ConnectionDefence | None:
        """What is known of clients before their mail; None: all are let in alike."""
        ...

    async def sender(self, mail: Mail, client: Client) -> Reply:
        """Judge MAIL: SENDER_OK, or the reply that refuses it."""
        ...

    def began(self, transaction: Transaction, client: Client) -> None:
        """Begin what can be done for an accepted sender meanwhile."""
        ...

    async def recipient(self, transaction: Transaction, rcpt: Rcpt, client: Client) -> Reply:
        """Judge RCPT: RECIPIENT_OK, and the recipient is entered in the transaction; or the
        reply that refuses it."""
        ...

    def message(self, transaction: Transaction, client: Client) -> MessageBuffer:
        """Begin a message, with its trace fields first."""
        ...

    async def accept(
        self, transaction: Transaction, message: MessageBuffer, client: Client
    ) -> Reply:
        """Accept a message whose end has come, or say why not; the 250 means that it is kept
        (promise 1)."""
        ...


class MxPolicy:
    """Takes mail from other servers for the domains served here."""

    auth: Auth | None = None
    offers_dsn = False

    def __init__(
        self,
        settings: SmtpSettings,
        limits: SpoolLimits,
        recipients: Recipients,
        acceptance: Acceptance,
        defence: ConnectionDefence,
        scanning: Scanning | None = None,
    ) -> None:
        """``scanning``: None: messages are not scanned."""
        self.defence = defence
        self._settings = settings
        self._limits = limits
        self._recipients = recipients
        self._acceptance = acceptance
        self._scanning = scanning

    async def sender(self, mail: Mail, _client: Client) -> Reply:
        """Judge MAIL. Anybody may send; only what can be known now to be too large is refused
        (RFC 1870 §6.1)."""
        return size_allowed(mail, self._settings)

    async def recipient(self, transaction: Transaction, rcpt: Rcpt, client: Client) -> Reply:
        """Judge RCPT: recipients here, unless their policy refuses the client."""
        reply = await self._recipients.judge(
            transaction, rcpt, client, self._settings.smtp_max_recipients
        )
        if reply is smtp.UNKNOWN_RECIPIENT or reply is smtp.HARVESTING:
            self.defence.fault(client.address, "unknown-recipient")
        if reply is not smtp.RECIPIENT_OK or self._scanning is None:
            return reply
        reply = await self._scanning.recipient(transaction, client)
        if reply is not smtp.RECIPIENT_OK:
            record_refusal(reply, client, message=str(transaction.id))
        return reply

    def began(self, transaction: Transaction, client: Client) -> None:
        """Ask the scanning tier who the client is."""
        if self._scanning is not None:
            self._scanning.begin(transaction, client)

    def message(self, transaction: Transaction, client: Client) -> MessageBuffer:
        """Begin a message. Results of authentication that claim to be ours are taken out of its
        header (RFC 8601 §5)."""
        path, trace = self._acceptance.trace(transaction, client)
        ours = partial(without_ours, authserv_id=self._settings.smtp_hostname)
        return MessageBuffer(
            self._limits, path + trace, len(path), ours, whole=False, client=client.address
        )

    async def accept(
        self, transaction: Transaction, message: MessageBuffer, client: Client
    ) -> Reply:
        """Accept a message whose end has come."""
        reply = await self._acceptance.accept(transaction, message, client, from_stranger)
        if reply.code == smtp.OK.code:
            self.defence.accepted(client.address)
        elif reply.kind in REFUSED_BY_VERDICT:
            self.defence.refused(client.address)
        return reply


def size_allowed(mail: Mail, settings: SmtpSettings) -> Reply:
    """Return SENDER_OK, or TOO_BIG for a message that declares more than SIZE allows (RFC 1870
    §6.1)."""
    return (
        smtp.TOO_BIG
        if mail.size is not None and mail.size > settings.smtp_message_max_bytes
        else smtp.SENDER_OK
    )
