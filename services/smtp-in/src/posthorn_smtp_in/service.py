"""The decisions of the mx role: who may receive, which message is kept, and what the client is told of it.

Rules:

- A recipient is what the directory says, never more: no relaying, whoever asks. A directory that cannot answer is a fault of ours
  and a 4yz (promise 3).
- ``keep`` gives the 250 only after the ingest stream has taken the message (promise 1). A large body is in the blob store before.
- The message id stays the same while the stream is tried again, so that what it took without our learning of it is not doubled.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from uuid import UUID

import structlog
from prometheus_client import Counter, Histogram

from posthorn.model.envelope import Envelope
from posthorn.ports.blobs import BODIES, Blobs
from posthorn.ports.clock import Clock
from posthorn.ports.directory import Directory, Standing
from posthorn.ports.faults import Full, Unavailable
from posthorn.ports.ingest import Ingest
from posthorn.runtime.ids import new_id
from posthorn.wire import smtp
from posthorn.wire.address import Address, parse_address
from posthorn.wire.smtp import Reply
from posthorn.wire.smtp_commands import Mail
from posthorn.wire.trace import Hop, received, return_path
from posthorn_smtp_in.letter import Letter, Room
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

_PATIENCE = 5
"""How many times the allowed unknown recipients a session may name while its transaction has a good one."""

_STANDINGS = {
    Standing.DELIVERABLE: smtp.RECIPIENT_OK,
    Standing.OVER_QUOTA: smtp.OVER_QUOTA,
    Standing.SUSPENDED: smtp.SUSPENDED,
    Standing.UNKNOWN: smtp.UNKNOWN_RECIPIENT,
    Standing.FOREIGN: smtp.FOREIGN_RECIPIENT,
}


@dataclass(slots=True)
class Client:
    """Who speaks."""

    address: str
    """IP address."""
    helo: str = ""
    extended: bool = False
    """It said EHLO, not HELO."""
    tls: str = ""
    """TLS version and cipher, empty without TLS."""
    gone: bool = False
    """It has closed, or lost, its side of the connection: nobody seems to wait for an answer."""
    unknown: int = 0
    """Unknown recipients it has named so far."""

    def protocol(self, *, smtputf8: bool) -> str:
        """The ``with`` keyword of Received (RFC 3848, RFC 6531 §4.3)."""
        name = "UTF8SMTP" if smtputf8 else "ESMTP" if self.extended else "SMTP"
        return f"{name}S" if self.tls and name != "SMTP" else name


@dataclass(slots=True)
class Transaction:
    """One mail transaction: MAIL to the end of data (RFC 5321 §3.3)."""

    mail: Mail
    began_at: float
    """Monotonic seconds."""
    recipients: dict[str, None] = field(default_factory=dict)
    """Canonical addresses, each once, in the order they came."""
    deferred: bool = False
    """A recipient was refused for the time being."""
    id: UUID = field(default_factory=new_id)


class Reception:
    """Takes mail for the domains served here."""

    def __init__(
        self,
        settings: SmtpSettings,
        room: Room,
        directory: Directory,
        ingest: Ingest,
        blobs: Blobs,
        clock: Clock = time.time,
    ) -> None:
        self.settings = settings
        self.room = room
        self._directory = directory
        self._ingest = ingest
        self._blobs = blobs
        self._clock = clock
        host = settings.smtp_hostname
        self._postmaster = parse_address(settings.smtp_postmaster or f"postmaster@{host}")

    def sender(self, mail: Mail) -> Reply:
        """Judge MAIL. Anybody may send; only what can be known now to be too large is refused (RFC 1870 §6.1)."""
        if mail.size is not None and mail.size > self.settings.smtp_max_size:
            return smtp.TOO_BIG
        return smtp.SENDER_OK

    async def recipient(self, transaction: Transaction, address: Address | None, client: Client) -> Reply:
        """Judge RCPT; a deliverable recipient is entered. ``address`` is None for ``<Postmaster>``."""
        reply = await self._judge(transaction, address)
        if reply is smtp.UNKNOWN_RECIPIENT:
            client.unknown += 1
            # an old list with some good addresses in it must get through, as far as patience goes
            patience = _PATIENCE if transaction.recipients else 1
            if client.unknown >= self.settings.smtp_max_unknown * patience:
                reply = smtp.HARVESTING
        if reply is not smtp.RECIPIENT_OK:
            transaction.deferred |= reply.is_transient
            recipient = str(address) if address else "postmaster"
            self.refused(reply, client, message=str(transaction.id), recipient=recipient)
        return reply

    async def _judge(self, transaction: Transaction, address: Address | None) -> Reply:
        wanted = address or self._postmaster
        name = str(wanted)
        if name in transaction.recipients:
            return smtp.RECIPIENT_OK
        if len(transaction.recipients) >= self.settings.smtp_max_recipients:
            return smtp.TOO_MANY_RECIPIENTS
        try:
            standing = await self._directory.standing(wanted)
        except Unavailable as fault:
            log.warning(
                "the directory does not answer", message=str(transaction.id), part=fault.part, detail=str(fault)
            )
            return smtp.FAULT
        if standing is Standing.DELIVERABLE:
            transaction.recipients[name] = None
        elif address is None and standing is Standing.FOREIGN:
            return smtp.UNKNOWN_RECIPIENT  # nobody asked for relaying: there is just no postmaster
        return _STANDINGS[standing]

    def letter(self, transaction: Transaction, client: Client) -> Letter:
        """Begin a message: its trace fields stand first."""
        mail, now = transaction.mail, self._clock()
        path = return_path(str(mail.reverse_path or ""))
        hop = Hop(
            client.helo,
            client.address,
            self.settings.smtp_hostname,
            client.protocol(smtputf8=mail.smtputf8),
            client.tls,
        )
        only = next(iter(transaction.recipients)) if len(transaction.recipients) == 1 else None
        return Letter(self.room, path + received(hop, str(transaction.id), only, now), len(path))

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
        log.info(
            "accepted",
            message=str(transaction.id),
            size=letter.size,
            recipients=len(transaction.recipients),
            client=client.address,
            tls=client.tls,
        )
        return reply

    def refused(self, reply: Reply, client: Client, **about: object) -> None:
        """Count and log a refusal."""
        _refused.labels(reply.kind).inc()
        log.info("refused", reason=reply.kind, reply=f"{reply.code} {reply.status}", client=client.address, **about)

    async def _keep(self, transaction: Transaction, letter: Letter, client: Client, received_at: float) -> Reply:
        await letter.finish()
        if letter.fault is not None:
            return letter.fault
        mail = transaction.mail
        large = letter.size > self.room.inline
        try:
            scan = await letter.scan()
            if scan.received > self.settings.smtp_max_hops:
                return smtp.LOOP
            envelope = Envelope(
                id=transaction.id,
                received_at=received_at,
                reverse_path=str(mail.reverse_path or ""),
                recipients=tuple(transaction.recipients),
                body=letter.facts,
                summary=scan.summary,
                blob=f"{BODIES}{transaction.id}" if large else None,
                helo=client.helo,
                client_address=client.address,
                protocol=client.protocol(smtputf8=mail.smtputf8),
                smtputf8=mail.smtputf8,
            )
            if large:
                async with asyncio.timeout(self.settings.smtp_store_seconds):
                    await self._blobs.put_file(f"{BODIES}{transaction.id}", letter.file(), letter.size)
            async with asyncio.timeout(self.settings.smtp_accept_seconds):
                if large or not letter.is_spooled:
                    await self._accept(envelope, None if large else await letter.octets(), client)
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
