"""A client and its mail transaction, as the session and its policy know them (RFC 5321 §3.3)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from uuid import UUID

from posthorn.model.filter_policy import FilterPolicy
from posthorn.model.outbound import Notify, RecipientDsn
from posthorn.ports.access import Proof, digest_of
from posthorn.ports.scan import SenderFacts
from posthorn.ports.sending import Credentials, RateLimitSubject
from posthorn.runtime.ids import new_id
from posthorn.wire.message.header import Summary
from posthorn.wire.message.submission import Submitted
from posthorn.wire.smtp.commands import Mail, Rcpt


@dataclass(slots=True)
class Login:
    """An account that a client has logged in to."""

    credentials: Credentials
    app_password: bytes
    """SHA-256 of the app password, empty for the account's own password."""
    read_at: float
    """Monotonic seconds at which the credentials were read."""
    owned: set[str] = field(default_factory=set)
    """Addresses that were found since then to be the account's."""
    subjects: tuple[RateLimitSubject, ...] = ()
    """Who pays for its messages, as far as that has been made up from the credentials."""
    expires_at: float | None = None
    """When the token that it was expires, in Unix seconds; None: it was a password."""
    revoked: bool = False
    """It is not valid any more: the session ends."""

    def renew(self, credentials: Credentials, read_at: float, owned: set[str]) -> None:
        """Rely on what was read of the account just now."""
        if credentials != self.credentials:
            self.credentials, self.subjects = credentials, ()
        self.read_at, self.owned = read_at, owned

    @property
    def proof(self) -> Proof:
        """What the client logged in with."""
        known = self.credentials
        if self.expires_at is not None:
            return Proof(known.account, expires_at=self.expires_at)
        if self.app_password:
            return Proof(known.account, app_password=self.app_password, scope="smtp")
        return Proof(known.account, digest_of(known.password_hash))


@dataclass(slots=True)
class Client:
    """The client of a session."""

    address: str
    """IP address."""
    via_proxy: bool = False
    """The address is from a PROXY header, not of the connection."""
    helo: str = ""
    extended: bool = False
    """It said EHLO, not HELO."""
    tls: str = ""
    """TLS version and cipher, empty without TLS."""
    gone: bool = False
    """It has closed, or lost, its side of the connection: nobody seems to wait for an answer."""
    unknown: int = 0
    """Unknown recipients it has named so far."""
    login: Login | None = None
    """The account it has logged in to; never any in the mx role."""

    @property
    def account(self) -> str:
        """The address of that account, or nothing."""
        return self.login.credentials.address if self.login else ""

    def protocol(self, *, smtputf8: bool) -> str:
        """Return the ``with`` keyword of Received (RFC 3848, RFC 6531 §4.3)."""
        name = "UTF8SMTP" if smtputf8 else "ESMTP" if self.extended else "SMTP"
        if name == "SMTP":
            return name
        return f"{name}{'S' if self.tls else ''}{'A' if self.account else ''}"


@dataclass(slots=True)
class Transaction:
    """One mail transaction: MAIL to the end of data (RFC 5321 §3.3)."""

    mail: Mail
    began_at: float
    """Monotonic seconds."""
    recipients: dict[str, RecipientDsn | None] = field(default_factory=dict)
    """Each once, in the order they came: ours in canonical form, others with their local part as
    written. With each what the client asked about DSNs, None for nothing."""
    id: UUID = field(default_factory=new_id)
    submitted: Submitted | None = None
    """What was found in the header; in the submission role only."""
    returns: bool = False
    """A recipient is a rewritten reverse-path of ours."""
    policies: dict[str, FilterPolicy] = field(default_factory=dict)
    """The filter policy of each recipient, if mail is scanned."""
    summary: Summary = field(default_factory=Summary)
    """Fields of its header, once it is read."""
    is_told: bool = False
    """The last refusal is an event already."""
    sender_facts: asyncio.Task[SenderFacts | None] | None = None
    """Asks what is known of the client; None if nobody asked."""

    def drop(self) -> None:
        """End: nobody waits for what was asked."""
        if self.sender_facts is not None:
            self.sender_facts.cancel()


_NOTIFY: Mapping[str, Notify] = {
    "NEVER": Notify.NEVER,
    "SUCCESS": Notify.SUCCESS,
    "FAILURE": Notify.FAILURE,
    "DELAY": Notify.DELAY,
}


def dsn_of(rcpt: Rcpt) -> RecipientDsn | None:
    """Return what the client asked about DSNs for a recipient (RFC 3461); None when it asked
    nothing."""
    if not rcpt.notify and not rcpt.orcpt:
        return None
    return RecipientDsn(
        reduce(or_, map(_NOTIFY.__getitem__, rcpt.notify), Notify.UNSAID), rcpt.orcpt
    )
