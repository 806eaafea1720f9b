"""Sends delivery status notifications (DSNs): each goes on INGEST as any message does, then its
rows are closed (ADR 14).

The id of a DSN follows from the message, the rows and the action, and which rows share a DSN
follows from the rows. So a second attempt, by this relay or another, makes the same message, which
is kept once.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import Iterable, Sequence
from contextlib import aclosing, suppress
from datetime import datetime
from uuid import UUID

import structlog
from prometheus_client import Counter

from posthorn.model.envelope import Body, Envelope
from posthorn.model.events import NOTICE, Event
from posthorn.ports.bodies import BodyReader
from posthorn.ports.errors import Unavailable
from posthorn.ports.events import Events
from posthorn.ports.ingest import Ingest
from posthorn.ports.queue import PendingDsn, PendingRecipient, Queue
from posthorn.ports.sending import SENDING_SECONDS, Charge, Throttle
from posthorn.wire.foreign_address import canonical
from posthorn.wire.message import dsn
from posthorn.wire.message.dsn import Action
from posthorn.wire.message.header import scan_header
from posthorn.wire.message.trace import return_path
from posthorn_relay.settings import RelaySettings

log = structlog.get_logger()

BATCH = 50
"""DSNs taken from the queue at once."""
MAX_RECIPIENTS = 50
"""Limit of recipients that one DSN reports."""
LOOK_SECONDS = 10.0
"""How often the queue is asked for DSNs without a call of ``wake``."""
RETRY_SECONDS = 2.0
"""How soon DSNs are tried again that could not be sent, as when INGEST is full."""
STRANGER_HEADER_LIMIT = 8 * 1024
"""Bytes of the original header that are returned to a sender who did not authenticate."""
_UNREADABLE_SECONDS = 120.0
"""How long a DSN waits for the original message; then it is sent without."""

_suppressed = Counter(
    "posthorn_relay_dsns_suppressed_total",
    "DSNs to unauthenticated senders that were not sent because of the limits",
)
_sent = Counter("posthorn_relay_dsns_total", "DSNs sent, by action", ["kind"])


class DsnSender:
    """Composes and sends DSNs."""

    def __init__(
        self,
        queue: Queue,
        ingest: Ingest,
        bodies: BodyReader,
        events: Events,
        settings: RelaySettings,
        *,
        throttle: Throttle | None = None,
    ) -> None:
        """``throttle`` counts DSNs to unauthenticated senders; without one there is no limit."""
        self._queue = queue
        self._ingest = ingest
        self._bodies = bodies
        self._events = events
        self._host = settings.relay_hostname
        self._postmaster = settings.relay_postmaster or f"MAILER-DAEMON@{settings.relay_hostname}"
        self._limits = {
            "domain": settings.relay_reports_per_domain_per_hour,
            "network": settings.relay_reports_per_network_per_hour,
        }
        self._throttle = throttle
        self._woken = asyncio.Event()
        self._unreadable: dict[UUID, float] = {}

    def wake(self) -> None:
        """Look soon: DSNs have become due."""
        self._woken.set()

    async def run(self) -> None:
        """Send DSNs as they become due, until cancelled."""
        while True:
            self._woken.clear()
            wait = LOOK_SECONDS
            try:
                while await self.send_pending():
                    pass
            except Unavailable as fault:
                log.warning("dsns wait", fault=fault)
                wait = RETRY_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(wait * random.uniform(0.7, 1.3)):  # noqa: S311 - spreads load
                    await self._woken.wait()

    async def send_pending(self) -> bool:
        """Send what is due; return whether there may be more. Raises Unavailable."""
        pending = await self._queue.pending_dsns(BATCH)
        sent, fault = 0, None
        for one in pending:
            try:
                sent += await self._send(one)
            except (
                Unavailable
            ) as unavailable:  # one that cannot be sent must not hold up the others
                fault = unavailable
                log.warning("a dsn waits", message=str(one.message), fault=unavailable)
            except Exception:
                log.exception("a dsn cannot be composed", message=str(one.message))
        if fault is not None:
            raise fault
        return sent > 0 and len(pending) >= BATCH

    async def _send(self, pending: PendingDsn) -> bool:
        rows = [one.id for one in pending.recipients]
        if pending.sender:  # never a bounce for a bounce (RFC 5321 §6.1)
            if not await self._is_allowed(pending):
                await self._queue.dsns_sent(rows)
                return True
            has_failed = any(one.notice is Action.FAILED for one in pending.recipients)
            full = pending.is_known and pending.ret == "FULL" and has_failed
            original = await self._original(pending, full)
            if original is None:
                return False
            for group in _groups(pending.recipients):
                await self._publish(pending, group[0].notice, group, original, full)
        await self._queue.dsns_sent(rows)
        return True

    async def _is_allowed(self, pending: PendingDsn) -> bool:
        """Return whether the DSN may be sent, and count it.

        A sender who did not authenticate may be forged, and the DSN would go to somebody else: so
        many per hour to a domain, and for the network the message came from. The trace says what
        was not sent.
        """
        if pending.is_known or self._throttle is None:
            return True
        counted = {"domain": pending.sender.rpartition("@")[2].lower(), "network": pending.network}
        charges = [
            Charge(f"reports-{what}:{name}", self._limits[what], SENDING_SECONDS)
            for what, name in counted.items()
            if name and self._limits[what]
        ]
        if not await self._throttle.take(charges):
            return True
        kinds = sorted({one.notice.value for one in pending.recipients})
        _suppressed.inc()
        log.warning(
            "dsn not sent: the limit per hour is reached", message=str(pending.message), **counted
        )
        detail = {
            "kind": kinds[0],
            "suppressed": "too many reports an hour to this domain, or for what came from this network",
            "recipients": [_shown(one) for one in pending.recipients],
        }
        self._events.record(Event(pending.message, time.time(), NOTICE, detail))
        return False

    async def _publish(
        self,
        pending: PendingDsn,
        action: Action,
        recipients: Sequence[PendingRecipient],
        original: bytes,
        full: bool,
    ) -> None:
        identity = dsn_id(pending.message, action, (one.id for one in recipients))
        now = time.time()
        path = return_path("")
        body = path + dsn.compose(
            dsn.Report(
                identity=str(identity),
                at=now,
                host=self._host,
                postmaster=self._postmaster,
                sender=pending.sender,
                arrived_at=pending.received_at.timestamp(),
                recipients=[_status(one) for one in recipients],
                original=original,
                full=full and action is Action.FAILED,  # RFC 3461 §4.3: RET is about failures only
                envid=pending.envid,
                smtputf8=pending.smtputf8,
                quotes_subject=pending.is_known,
            )
        )
        facts = Body.from_message(body, len(path))
        envelope = Envelope(
            id=identity,
            received_at=now,
            reverse_path="",
            recipients=(canonical(pending.sender) if pending.is_known else pending.sender,),
            body=facts,
            summary=scan_header(body).summary,
            helo=self._host,
            protocol="ESMTP",
            role="notice",
            smtputf8=not pending.sender.isascii(),
            tenant=pending.tenant,
        )
        await self._ingest.accept(envelope, body)
        _sent.labels(action.value).inc()
        log.info("dsn sent", message=str(pending.message), notice=str(identity), kind=action.value)
        detail = {
            "kind": action.value,
            "notice": str(identity),
            "recipients": [_shown(one) for one in recipients],
        }
        self._events.record(Event(pending.message, now, NOTICE, detail))

    async def _original(self, pending: PendingDsn, full: bool) -> bytes | None:
        """Return the message without its Return-Path, or its beginning; None to try again later."""
        wanted = pending.return_path_octets + (
            dsn.FULL_LIMIT + 1
            if full
            else dsn.HEADER_LIMIT
            if pending.is_known
            else STRANGER_HEADER_LIMIT
        )
        taken = bytearray()
        try:
            async with aclosing(self._bodies.stream(pending.location)) as pieces:
                async for piece in pieces:
                    taken += piece
                    if len(taken) >= wanted:
                        break
        except Unavailable as fault:
            since = self._unreadable.setdefault(pending.message, time.monotonic())
            if time.monotonic() - since < _UNREADABLE_SECONDS:
                log.warning(
                    "a dsn waits for its message", message=str(pending.message), fault=fault
                )
                return None
            del self._unreadable[pending.message]
            log.error(
                "a dsn is sent without its message", message=str(pending.message), fault=fault
            )
            return b""
        self._unreadable.pop(pending.message, None)
        return bytes(taken[pending.return_path_octets : wanted])


def _groups(pending: Iterable[PendingRecipient]) -> list[list[PendingRecipient]]:
    """Group the recipients that share a DSN: those written by one transaction.

    Whoever sees one of them sees them all, and so every relay makes the same DSNs.
    """
    found: dict[tuple[Action, datetime | None], list[PendingRecipient]] = {}
    for one in pending:
        found.setdefault((one.notice, one.last_attempt_at), []).append(one)
    # a limit, so that no DSN outgrows what the stream takes in one message
    return [
        group[start : start + MAX_RECIPIENTS]
        for group in found.values()
        for start in range(0, len(group), MAX_RECIPIENTS)
    ]


def dsn_id(message: UUID, action: Action, rows: Iterable[int]) -> UUID:
    """Return the id of a DSN: a UUIDv7 of the message's time, the same one for the same rows and
    action."""
    text = " ".join([str(message), action.value, *map(str, sorted(rows))])
    chance = int.from_bytes(hashlib.sha256(text.encode()).digest()[:10])
    return UUID(
        int=message.int >> 80 << 80
        | 0x7 << 76
        | (chance >> 62 & 0xFFF) << 64
        | 0b10 << 62
        | chance & ((1 << 62) - 1)
    )


def _shown(one: PendingRecipient) -> str:
    return one.original or one.recipient


def _status(one: PendingRecipient) -> dsn.RecipientStatus:
    return dsn.RecipientStatus(
        address=_shown(one),
        action=one.notice,
        status=one.last_status,
        reply=one.last_reply,
        host=one.last_host,
        forwarded_to=one.recipient if one.original else "",
        orcpt=one.orcpt,
        last_attempt_at=_moment(one.last_attempt_at),
        retry_until=_moment(one.expires_at),
    )


def _moment(at: datetime | None) -> float | None:
    return at.timestamp() if at else None
