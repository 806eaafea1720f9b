"""Accepting a message at the end of data: the one place that answers with the final 250.

Rules:

- The 250 comes only after the ingest stream has taken the message (promise 1). A large body is in
  the blob store before.
- Where messages are scanned, that comes in between: a large body is read from the store for it, and
  stored again under its key with the fields that tell of the verdict.
- The message id stays the same while the stream is tried again, so that what it took without our
  learning of it is not doubled.
- A message that has been here more often than may be, by Received fields of ours or marks of
  aliases, loops (RFC 5321 §6.3).
- A full stream is 452, any other fault of ours 451 (promise 3).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass
from uuid import UUID

import structlog
from prometheus_client import Counter, Histogram

from posthorn.model.envelope import Envelope
from posthorn.model.events import ACCEPTED, Event, head_fields
from posthorn.ports.blobs import Blobs
from posthorn.ports.errors import Full, Unavailable
from posthorn.ports.events import Events
from posthorn.ports.ingest import IngestWithLanes
from posthorn.runtime import traces
from posthorn.runtime.bodies import BodyStore
from posthorn.wire.message.header import HeaderScan
from posthorn.wire.message.trace import Hop, received, return_path
from posthorn.wire.smtp import replies as smtp
from posthorn.wire.smtp.replies import Reply
from posthorn_smtp_in.message_buffer import MessageBuffer
from posthorn_smtp_in.refusals import record_refusal
from posthorn_smtp_in.scanning import Scanned, Scanning
from posthorn_smtp_in.settings import SmtpSettings
from posthorn_smtp_in.spool_limits import SpoolLimits
from posthorn_smtp_in.transaction import Client, Transaction

log = structlog.get_logger()

RETRY_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.0)
"""Pauses between tries of the stream; the last one repeats."""

_accepted = Counter("posthorn_smtp_in_accepted_total", "Messages answered with 250")
_accepted_bytes = Counter(
    "posthorn_smtp_in_accepted_bytes_total", "Bytes of accepted messages, as stored"
)
_results = Counter(
    "posthorn_smtp_in_transactions_total",
    "Messages whose end of data was answered: accepted, refused, deferred, or failed by a fault of ours",
    ["result"],
)
_result = {name: _results.labels(name) for name in ("accepted", "refused", "deferred", "failed")}
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


@dataclass(frozen=True, slots=True)
class Origin:
    """On whose behalf a message is accepted; nobody's for a stranger."""

    role: str = "mx"
    submitter: str = ""
    """Address of the account that sent it."""
    tenant: UUID | None = None
    signer: str = ""
    """Domain of ours in whose name the message may be signed."""


STRANGER = Origin()

type Check = Callable[[Transaction, Client], Awaitable[Reply | Origin]]
"""Judges a message that is complete: the reply that refuses it, or on whose behalf it is
accepted. Raises Unavailable."""


async def from_stranger(_transaction: Transaction, _client: Client) -> Reply | Origin:
    """Accept a complete message from anybody."""
    return STRANGER


class Acceptance:
    """Accepts messages: into the ingest stream, and large bodies into the blob store before."""

    def __init__(
        self,
        settings: SmtpSettings,
        limits: SpoolLimits,
        *,
        ingest: IngestWithLanes,
        blobs: Blobs,
        events: Events,
        scanning: Scanning | None = None,
    ) -> None:
        """``scanning``: None: messages are not scanned."""
        self._settings = settings
        self._limits = limits
        self._scanning = scanning
        self._ingest = ingest
        self._bodies = BodyStore(blobs, limits.inline, settings.smtp_store_seconds)
        self._events = events

    def trace(
        self, transaction: Transaction, client: Client, *, withheld: bool = False
    ) -> tuple[bytes, bytes]:
        """Return the fields Return-Path and Received; ``withheld``: without name and address of
        the client."""
        mail = transaction.mail
        hop = Hop(
            client.helo,
            client.address,
            self._settings.smtp_hostname,
            client.protocol(smtputf8=mail.smtputf8),
            client.tls,
            withheld,
        )
        only = next(iter(transaction.recipients)) if len(transaction.recipients) == 1 else None
        return return_path(mail.written), received(hop, str(transaction.id), only, time.time())

    async def accept(
        self, transaction: Transaction, message: MessageBuffer, client: Client, check: Check
    ) -> Reply:
        """Accept a message whose end has come, or say why not. Never answers twice."""
        began, received_at = time.monotonic(), time.time()
        reply = await self._accept(transaction, message, client, check, received_at)
        _result[_result_of(reply)].inc()
        if traces.tracer is not None and traces.tracer.samples(transaction.id):
            self._trace_receipt(traces.tracer, transaction, message, reply)
        if reply.code != 250:
            record_refusal(reply, client, message=str(transaction.id), size=message.content_octets)
            return reply
        now = time.monotonic()
        _ingest.observe(now - began)
        _transactions.observe(now - transaction.began_at)
        _accepted.inc()
        _accepted_bytes.inc(message.size)
        detail = {
            "size": message.size,
            "recipients": len(transaction.recipients),
            "client": client.address,
            "account": client.account,
        }
        about: dict[str, object] = {
            "service": self._settings.smtp_role,
            **detail,
            **head_fields(transaction.mail.written, transaction.summary),
            "to": list(transaction.recipients),
        }
        if client.tls:
            about["tls"] = client.tls
        if client.login is not None:
            about["tenant"] = str(client.login.credentials.tenant)
        self._events.record(Event(transaction.id, received_at, ACCEPTED, about))
        log.info("accepted", message=str(transaction.id), tls=client.tls, **detail)
        return reply

    def _trace_receipt(
        self,
        tracer: traces.Tracer,
        transaction: Transaction,
        message: MessageBuffer,
        reply: Reply,
    ) -> None:
        about = traces.receipt(
            self._settings.smtp_role,
            message.size,
            transaction.mail.written,
            list(transaction.recipients),
            reply.code,
        )
        result = _result_of(reply)
        tracer.span(
            traces.RECEIVE,
            transaction.id,
            traces.nanoseconds_ago(time.monotonic() - transaction.began_at),
            {**about, traces.RESULT: result},
            fault=result if result == "failed" else "",
        )

    async def _accept(
        self,
        transaction: Transaction,
        message: MessageBuffer,
        client: Client,
        check: Check,
        received_at: float,
    ) -> Reply:
        await message.finish()
        if message.fault is not None:
            return message.fault
        try:
            scan = await message.scan()
            transaction.summary = scan.summary
            if scan.received > self._settings.smtp_max_hops:
                return smtp.LOOP
            if scan.passes(self._settings.smtp_hostname) > self._settings.smtp_max_passes:
                return smtp.LOOPS_HERE
            if transaction.returns and not scan.looks_like_report:
                return smtp.NO_REPORT
            origin = await check(transaction, client)
            if isinstance(origin, Reply):
                return origin
            refusal = await self._keep(transaction, message, client, scan, received_at, origin)
            if refusal is not None:
                return refusal
        except Full as fault:
            log.warning("no room to keep a message", message=str(transaction.id), fault=fault)
            return smtp.FULL
        except (Unavailable, OSError) as fault:  # a TimeoutError is an OSError
            log.warning(
                "could not be kept",
                message=str(transaction.id),
                fault=fault,
            )
            return smtp.FAULT
        return smtp.accepted(transaction.id)

    async def _keep(
        self,
        transaction: Transaction,
        message: MessageBuffer,
        client: Client,
        header: HeaderScan,
        received_at: float,
        origin: Origin,
    ) -> Reply | None:
        """Scan and store a message; return the reply if the verdict refuses it."""
        blob = self._bodies.blob(transaction.id, message.size)
        if blob is not None:
            await self._bodies.store(blob, message.file(), message.size)
        # a small one that lies in the file comes back into memory
        comes_back = blob is None and message.is_spooled
        async with self._limits.read_back if comes_back else nullcontext():
            body = None if blob is not None else await message.octets()
            scanned = None
            if self._scanning is not None:
                content = None if body is None else body[message.trace_octets :]
                found = await self._scanning.message(
                    transaction, message, client, header, content, blob, received_at
                )
                if isinstance(found, Reply):
                    if blob is not None:
                        await self._bodies.give_up(blob)
                    return found
                scanned = found
                if found.fields:
                    message.insert(found.fields)
                    if blob is not None:
                        await self._bodies.store(blob, message.file(), message.size)
                    else:
                        body = await message.octets()
            envelope = self._envelope(
                transaction, message, client, header, received_at, origin, blob, scanned
            )
            async with asyncio.timeout(self._settings.smtp_accept_seconds):
                is_unscanned = scanned is not None and scanned.verdict is None
                await self._publish(envelope, body, client, unscanned=is_unscanned)
        return None

    def _envelope(
        self,
        transaction: Transaction,
        message: MessageBuffer,
        client: Client,
        scan: HeaderScan,
        received_at: float,
        origin: Origin,
        blob: str | None,
        scanned: Scanned | None,
    ) -> Envelope:
        mail = transaction.mail
        return Envelope(
            id=transaction.id,
            received_at=received_at,
            reverse_path=mail.written,
            recipients=tuple(transaction.recipients),
            body=message.facts,
            summary=scan.summary,
            blob=blob,
            helo=client.helo,
            client_address=client.address,
            protocol=client.protocol(smtputf8=mail.smtputf8),
            smtputf8=mail.smtputf8,
            ret=mail.ret,
            envid=mail.envid,
            dsn={
                recipient: dsn
                for recipient, dsn in transaction.recipients.items()
                if dsn is not None
            },
            passed=scan.passed,
            role=origin.role,
            submitter=origin.submitter,
            tenant=origin.tenant,
            signer=origin.signer,
            verdict=None if scanned is None else scanned.verdict,
        )

    async def _publish(
        self, envelope: Envelope, body: bytes | None, client: Client, *, unscanned: bool
    ) -> None:
        tries = 0
        while True:
            try:
                await self._ingest.accept(envelope, body, unscanned=unscanned)
                return
            except Full:
                raise
            except Unavailable:
                if client.gone:  # it will send the message again
                    raise
            await asyncio.sleep(RETRY_SECONDS[min(tries, len(RETRY_SECONDS) - 1)])
            tries += 1


def _result_of(reply: Reply) -> str:
    if reply.code == 250:
        return "accepted"
    if reply in (smtp.FAULT, smtp.FULL):
        return "failed"
    return "refused" if reply.code >= 500 else "deferred"
