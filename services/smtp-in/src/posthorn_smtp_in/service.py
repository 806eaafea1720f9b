"""The decisions of the mx role: who may receive, which message is kept, and what the client is told of it.

The submission role (``submission``) decides otherwise on senders and recipients elsewhere, and keeps messages in the same way.

Rules:

- A recipient is what the directory says, never more: no relaying, whoever asks. A directory that cannot answer is a fault of ours
  and a 4yz (promise 3).
- Mail for a postmaster who is nobody here goes to another that the installation or the domain has (``runtime.postmasters``).
- One thing the directory does not know: rewritten reverse-paths (``wire.srs``), to which bounces of forwarded mail come back. They
  take nothing but what looks like a report or an automatic reply, which is known at the end of data.
- A message that has been here more often than may be, by Received fields of ours or marks of aliases, loops (RFC 5321 §6.3).
- Strangers are not offered DSN (RFC 3461), as a report asked for goes to whomever they name (ADR 20).
- What the directory does not hold while it is behind with changes is a 4yz as well (ADR 22).
- ``keep`` gives the 250 only after the ingest stream has taken the message (promise 1). A large body is in the blob store before.
- The message id stays the same while the stream is tried again, so that what it took without our learning of it is not doubled.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial, reduce
from operator import or_
from uuid import UUID

import structlog
from prometheus_client import Counter, Histogram

from posthorn.model.directory_entry import RecipientStatus
from posthorn.model.envelope import Envelope
from posthorn.model.events import ACCEPTED, Event
from posthorn.model.outbound import Notify, RecipientDsn
from posthorn.ports.access import Proof, digest_of
from posthorn.ports.blobs import Blobs
from posthorn.ports.clock import Clock
from posthorn.ports.directory import DirectoryBehind, DirectoryWithRoom
from posthorn.ports.errors import Full, Unavailable
from posthorn.ports.events import Events, NoEvents
from posthorn.ports.ingest import Ingest
from posthorn.ports.sending import Credentials
from posthorn.runtime.bodies import BodyStore
from posthorn.runtime.ids import new_id
from posthorn.runtime.postmasters import LOCAL_PART, Postmasters
from posthorn.wire import srs
from posthorn.wire.address import Address
from posthorn.wire.auth.authentication_results import without_ours
from posthorn.wire.message.header import HeaderScan
from posthorn.wire.message.submission import Submitted
from posthorn.wire.message.trace import Hop, received, return_path
from posthorn.wire.smtp import replies as smtp
from posthorn.wire.smtp.commands import Mail, Rcpt
from posthorn.wire.smtp.replies import Reply
from posthorn_smtp_in.letter import Letter
from posthorn_smtp_in.room import Room
from posthorn_smtp_in.settings import SmtpSettings

log = structlog.get_logger()

RETRY_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.0)
"""Pauses between tries of the stream; the last one repeats."""

_accepted = Counter("posthorn_smtp_in_accepted_total", "Messages answered with 250")
_accepted_octets = Counter("posthorn_smtp_in_accepted_octets_total", "Octets of accepted messages, as stored")
_refused = Counter(
    "posthorn_smtp_in_refused_total", "Refusals of connections, recipients, messages, commands", ["reason"]
)
_ingest = Histogram(
    "posthorn_smtp_in_ingest_seconds",
    "From the end of data until the message is kept",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
_transactions = Histogram(
    "posthorn_smtp_in_transaction_seconds",
    "From MAIL to the final 250",
    buckets=(0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)

_DAY_SECONDS = 86_400
_PATIENCE = 5
"""How many times the allowed unknown recipients a session may name while its transaction has a good one."""

_STANDINGS = {
    RecipientStatus.DELIVERABLE: smtp.RECIPIENT_OK,
    RecipientStatus.OVER_QUOTA: smtp.OVER_QUOTA,
    RecipientStatus.SUSPENDED: smtp.SUSPENDED,
    RecipientStatus.LIMITED: smtp.LIMITED,
    RecipientStatus.UNKNOWN: smtp.UNKNOWN_RECIPIENT,
    RecipientStatus.FOREIGN: smtp.FOREIGN_RECIPIENT,
}


@dataclass(slots=True)
class Login:
    """An account that a client has logged in to."""

    credentials: Credentials
    app_password: bytes
    """SHA-256 of the app password it was, empty for the account's own password."""
    read_at: float
    """Monotonic seconds at which the credentials were read."""
    owned: set[str] = field(default_factory=set)
    """Addresses that were found since then to be the account's."""
    revoked: bool = False
    """It does not hold any more: the session ends."""

    @property
    def proof(self) -> Proof:
        """What it was logged in with."""
        known = self.credentials
        if self.app_password:
            return Proof(known.account, app_password=self.app_password, scope="smtp")
        return Proof(known.account, digest_of(known.password_hash))


@dataclass(slots=True)
class Client:
    """Who speaks."""

    address: str
    """IP address."""
    introduced: bool = False
    """The address is what a balancer told, not where the connection comes from."""
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
        """The ``with`` keyword of Received (RFC 3848, RFC 6531 §4.3)."""
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
    """Each once, in the order they came: ours in canonical form, others with their local part as written. With each what the
    client asked about notices, None for nothing."""
    deferred: bool = False
    """A recipient was refused for the time being."""
    id: UUID = field(default_factory=new_id)
    submitted: Submitted | None = None
    """What was found in the header; in the submission role only."""
    signer: str = ""
    """Domain of ours in whose name the message may be signed."""
    returns: bool = False
    """A recipient is a rewritten reverse-path of ours."""


@dataclass(frozen=True, slots=True)
class Backends:
    """What both roles stand on."""

    directory: DirectoryWithRoom
    ingest: Ingest
    blobs: Blobs
    events: Events = field(default_factory=NoEvents)
    srs_keys: Sequence[bytes] = ()
    """Keys that may have signed rewritten reverse-paths."""


class Reception:
    """Takes mail for the domains served here."""

    offers_dsn = False
    """Whether DSN (RFC 3461) is offered. What is asked for all the same is honoured as far as ADR 20 says."""
    _takes_elsewhere = False
    """Whether recipients elsewhere are taken. Delivery asks Postgres what an address is, so for these it is enough that the
    directory does not know it."""

    def __init__(
        self,
        settings: SmtpSettings,
        room: Room,
        backends: Backends,
        clock: Clock = time.time,
    ) -> None:
        self.settings = settings
        self.room = room
        self._directory = backends.directory
        self._ingest = backends.ingest
        self._bodies = BodyStore(backends.blobs, room.inline, settings.smtp_store_seconds)
        self._srs_keys = backends.srs_keys
        self._events = backends.events
        self._clock = clock
        self._postmasters = Postmasters(settings.smtp_postmaster, settings.smtp_hostname)

    async def sender(self, mail: Mail, client: Client) -> Reply:
        """Judge MAIL. Anybody may send; only what can be known now to be too large is refused (RFC 1870 §6.1)."""
        if mail.size is not None and mail.size > self.settings.smtp_max_size:
            return smtp.TOO_BIG
        return smtp.SENDER_OK

    async def recipient(self, transaction: Transaction, rcpt: Rcpt, client: Client) -> Reply:
        """Judge RCPT; a recipient that is accepted is entered."""
        reply = await self._judge(transaction, rcpt, client)
        if reply is smtp.UNKNOWN_RECIPIENT:
            client.unknown += 1
            # an old list with some good addresses in it must get through, as far as patience goes
            patience = _PATIENCE if transaction.recipients else 1
            if client.unknown >= self.settings.smtp_max_unknown * patience:
                reply = smtp.HARVESTING
        if reply is not smtp.RECIPIENT_OK:
            transaction.deferred |= reply.is_transient
            recipient = str(rcpt.forward_path or "postmaster")
            self.refused(reply, client, message=str(transaction.id), recipient=recipient)
        return reply

    async def _judge(self, transaction: Transaction, rcpt: Rcpt, client: Client) -> Reply:
        address = rcpt.forward_path
        wanted = address or self._postmasters.general[0]
        if str(wanted) in transaction.recipients:
            return smtp.RECIPIENT_OK
        if len(transaction.recipients) >= self._most_recipients(client):
            return smtp.TOO_MANY_RECIPIENTS
        try:
            standing, is_sure = await self._standing(wanted)
            if _is_nobody(standing, address):
                domain = address.domain if address else None
                async for other in self._postmasters.candidates(self._directory, domain):
                    found, is_known = await self._standing(other)
                    is_sure = is_sure and is_known
                    if found not in _NOBODY:
                        wanted, standing = other, found
                        break
            size = transaction.mail.size
            if standing is RecipientStatus.DELIVERABLE and size is not None:
                room = await self._directory.room(wanted)
                if room is not None and size > room:
                    return smtp.NO_ROOM
        except Unavailable as fault:
            log.warning(
                "the directory does not answer", message=str(transaction.id), part=fault.part, detail=str(fault)
            )
            return smtp.FAULT
        name = str(wanted)
        if standing is RecipientStatus.DELIVERABLE:
            transaction.recipients.setdefault(name, dsn_of(rcpt))
            return smtp.RECIPIENT_OK
        if standing is RecipientStatus.UNKNOWN and self._is_returning(transaction.mail, wanted):
            # as written: the address it stands for may be of a host that minds the case
            transaction.recipients.setdefault(rcpt.written, dsn_of(rcpt))
            transaction.returns = True
            return smtp.RECIPIENT_OK
        if not is_sure and not (standing is RecipientStatus.FOREIGN and self._takes_elsewhere):
            return smtp.FAULT
        if standing is RecipientStatus.FOREIGN:
            if address is None:
                return smtp.UNKNOWN_RECIPIENT  # nobody asked for relaying: there is just no postmaster
            return self._elsewhere(transaction, rcpt)
        return _STANDINGS[standing]

    async def _standing(self, address: Address) -> tuple[RecipientStatus, bool]:
        """Return what the directory says, and whether that is sure. Raises Unavailable."""
        try:
            return await self._directory.standing(address), True
        except DirectoryBehind as behind:
            return behind.standing, False

    def _most_recipients(self, client: Client) -> int:
        return self.settings.smtp_max_recipients

    def _elsewhere(self, transaction: Transaction, rcpt: Rcpt) -> Reply:
        """Judge a recipient at a domain that is not ours."""
        return smtp.FOREIGN_RECIPIENT

    def _is_returning(self, mail: Mail, address: Address) -> bool:
        """Whether this is a bounce, and comes to a reverse-path that we have rewritten."""
        if mail.reverse_path is not None or not srs.is_srs(address.local):
            return False
        try:
            srs.verify(address.local, self._srs_keys, int(self._clock() // _DAY_SECONDS))
        except srs.SrsError as error:
            log.info("not a reverse-path of ours", recipient=str(address), detail=str(error))
            return False
        return True

    def letter(self, transaction: Transaction, client: Client) -> Letter:
        """Begin a message: its trace fields stand first."""
        path, trace = self._trace(transaction, client)
        ours = partial(without_ours, authserv_id=self.settings.smtp_hostname)
        return Letter(self.room, path + trace, len(path), ours, whole=False, client=client.address)

    def _trace(self, transaction: Transaction, client: Client, *, withheld: bool = False) -> tuple[bytes, bytes]:
        """Give Return-Path and Received."""
        mail = transaction.mail
        hop = Hop(
            client.helo,
            client.address,
            self.settings.smtp_hostname,
            client.protocol(smtputf8=mail.smtputf8),
            client.tls,
            withheld,
        )
        only = next(iter(transaction.recipients)) if len(transaction.recipients) == 1 else None
        return return_path(mail.written), received(hop, str(transaction.id), only, self._clock())

    async def keep(self, transaction: Transaction, letter: Letter, client: Client) -> Reply:
        """The end of data has come: keep the message, or say why not. Nothing here is answered twice."""
        began, received_at = time.monotonic(), self._clock()
        reply = await self._keep(transaction, letter, client, received_at)
        if reply.code != 250:
            self.refused(reply, client, message=str(transaction.id), size=letter.content_octets)
            return reply
        now = time.monotonic()
        _ingest.observe(now - began)
        _transactions.observe(now - transaction.began_at)
        _accepted.inc()
        _accepted_octets.inc(letter.size)
        detail = {
            "size": letter.size,
            "recipients": len(transaction.recipients),
            "client": client.address,
            "account": client.account,
        }
        told: dict[str, object] = {"service": self.settings.smtp_role, **detail}
        if client.login is not None:
            told["tenant"] = str(client.login.credentials.tenant)
        self._events.record(Event(transaction.id, received_at, ACCEPTED, told))
        log.info("accepted", message=str(transaction.id), tls=client.tls, **detail)
        return reply

    def refused(self, reply: Reply, client: Client, **about: object) -> None:
        """Count and log a refusal."""
        _refused.labels(reply.kind).inc()
        log.info("refused", reason=reply.kind, reply=f"{reply.code} {reply.status}", client=client.address, **about)

    async def _keep(self, transaction: Transaction, letter: Letter, client: Client, received_at: float) -> Reply:
        await letter.finish()
        if letter.fault is not None:
            return letter.fault
        try:
            scan = await letter.scan()
            if scan.received > self.settings.smtp_max_hops:
                return smtp.LOOP
            if scan.passes(self.settings.smtp_hostname) > self.settings.smtp_max_passes:
                return smtp.LOOPS_HERE
            if transaction.returns and not scan.looks_like_report:
                return smtp.NO_REPORT
            refusal = await self._checked(transaction, client)
            if refusal is not None:
                return refusal
            envelope = self._envelope(transaction, letter, client, scan, received_at)
            if envelope.blob is not None:
                await self._bodies.store(envelope.blob, letter.file(), letter.size)
            async with asyncio.timeout(self.settings.smtp_accept_seconds):
                if envelope.blob is not None:
                    await self._accept(envelope, None, client)
                elif not letter.is_spooled:
                    await self._accept(envelope, await letter.octets(), client)
                else:
                    async with self.room.read_back:
                        await self._accept(envelope, await letter.octets(), client)
        except Full as fault:
            log.warning("the stream is full", message=str(transaction.id), part=fault.part)
            return smtp.FULL
        except (Unavailable, OSError) as fault:  # a TimeoutError is an OSError
            log.warning("could not be kept", message=str(transaction.id), fault=type(fault).__name__, detail=str(fault))
            return smtp.FAULT
        return smtp.accepted(transaction.id)

    async def _checked(self, transaction: Transaction, client: Client) -> Reply | None:
        """Say why a message that is here as a whole is not kept; None when it is. Raises Unavailable."""
        return None

    def _envelope(
        self, transaction: Transaction, letter: Letter, client: Client, scan: HeaderScan, received_at: float
    ) -> Envelope:
        mail = transaction.mail
        return Envelope(
            id=transaction.id,
            received_at=received_at,
            reverse_path=mail.written,
            recipients=tuple(transaction.recipients),
            body=letter.facts,
            summary=scan.summary,
            blob=self._bodies.blob(transaction.id, letter.size),
            helo=client.helo,
            client_address=client.address,
            protocol=client.protocol(smtputf8=mail.smtputf8),
            smtputf8=mail.smtputf8,
            ret=mail.ret,
            envid=mail.envid,
            dsn={recipient: dsn for recipient, dsn in transaction.recipients.items() if dsn is not None},
            passed=scan.passed,
        )

    async def _accept(self, envelope: Envelope, body: bytes | None, client: Client) -> None:
        tries = 0
        while True:
            try:
                await self._ingest.accept(envelope, body)
                return
            except Full:
                raise
            except Unavailable:
                if client.gone:  # it will send the message again
                    raise
            await asyncio.sleep(RETRY_SECONDS[min(tries, len(RETRY_SECONDS) - 1)])
            tries += 1


_NOTIFY: Mapping[str, Notify] = {
    "NEVER": Notify.NEVER,
    "SUCCESS": Notify.SUCCESS,
    "FAILURE": Notify.FAILURE,
    "DELAY": Notify.DELAY,
}


_NOBODY = (RecipientStatus.UNKNOWN, RecipientStatus.FOREIGN)


def _is_nobody(standing: RecipientStatus, address: Address | None) -> bool:
    """Whether an address, None for the bare one, is a postmaster's, and nobody's here by itself."""
    if address is None:
        return standing in _NOBODY
    return standing is RecipientStatus.UNKNOWN and address.local == LOCAL_PART


def dsn_of(rcpt: Rcpt) -> RecipientDsn | None:
    """Give what the client asked about notices for a recipient; None when it said nothing."""
    if not rcpt.notify and not rcpt.orcpt:
        return None
    return RecipientDsn(reduce(or_, map(_NOTIFY.__getitem__, rcpt.notify), Notify.UNSAID), rcpt.orcpt)
