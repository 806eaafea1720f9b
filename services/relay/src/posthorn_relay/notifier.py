"""Tells senders what became of their messages: a report goes on INGEST like any letter, then its rows are closed (ADR 14).

The id of a notice follows from the message, the rows and what happened, and which rows go together follows from the rows, so that a
second attempt, of this relay or another, is the same message and kept once.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from datetime import datetime
from uuid import UUID

import structlog
from prometheus_client import Counter

from posthorn.model.envelope import Body, Envelope
from posthorn.model.events import NOTICE, Event
from posthorn.model.outbound import Notice
from posthorn.ports.errors import Unavailable
from posthorn.ports.events import Events
from posthorn.ports.ingest import Ingest
from posthorn.ports.queue import NoticeDue, Queue, Report
from posthorn.ports.sending import SENDING_SECONDS, Charge, Throttle
from posthorn.wire.foreign_address import canonical
from posthorn.wire.message import dsn
from posthorn.wire.message.header import scan_header
from posthorn.wire.message.trace import return_path
from posthorn_relay.parcels import Bodies
from posthorn_relay.settings import RelaySettings

log = structlog.get_logger()

AT_ONCE = 50
LOT = 50
"""Recipients that one notice tells of at most."""
LOOK_SECONDS = 10.0
AGAIN_SECONDS = 2.0
"""How soon notices are tried again that could not be sent, such as when INGEST is full."""
"""How often notices are looked for without being told of any."""
STRANGER_HEADER_LIMIT = 8 * 1024
"""Octets of the header that are returned to whom nobody has asked for a password."""
_UNREADABLE_SECONDS = 120.0
"""How long a notice waits for the message's octets; then it goes without."""

_suppressed = Counter(
    "posthorn_relay_notices_suppressed_total", "Notices to strangers that were not sent, since there were too many"
)
_notices = Counter("posthorn_relay_notices_total", "Notices to senders, by what they tell", ["kind"])


class Notifier:
    """Writes and sends notices."""

    def __init__(
        self,
        queue: Queue,
        ingest: Ingest,
        bodies: Bodies,
        events: Events,
        settings: RelaySettings,
        *,
        throttle: Throttle | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``throttle`` counts what is reported to strangers; without one nothing is counted."""
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
        self._clock = clock
        self._told = asyncio.Event()
        self._unreadable: dict[UUID, float] = {}

    def told(self) -> None:
        """Notices have become due."""
        self._told.set()

    async def run(self) -> None:
        """Send notices as they become due, until cancelled."""
        while True:
            self._told.clear()
            wait = LOOK_SECONDS
            try:
                while await self.notify():
                    pass
            except Unavailable as fault:
                log.warning("notices wait", part=fault.part, detail=str(fault))
                wait = AGAIN_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(wait * random.uniform(0.7, 1.3)):  # noqa: S311 - spreads load
                    await self._told.wait()

    async def notify(self) -> bool:
        """Send what is due; gives whether there may be more. Raises Unavailable."""
        reports = await self._queue.reports(AT_ONCE)
        sent, fault = 0, None
        for report in reports:
            try:
                sent += await self._send(report)
            except Unavailable as unavailable:  # one that cannot be sent must not hold up the others
                fault = unavailable
                log.warning("a notice waits", message=str(report.message), detail=str(unavailable))
            except Exception:
                log.exception("a notice cannot be made", message=str(report.message))
        if fault is not None:
            raise fault
        return sent > 0 and len(reports) >= AT_ONCE

    async def _send(self, report: Report) -> bool:
        rows = [one.id for one in report.recipients]
        if report.sender:  # never a bounce for a bounce (RFC 5321 §6.1)
            if not await self._may_tell(report):
                await self._queue.reported(rows)
                return True
            failed = any(one.notice is Notice.FAILED for one in report.recipients)
            full = report.is_known and report.ret == "FULL" and failed
            original = await self._original(report, full)
            if original is None:
                return False
            for told in _together(report.recipients):
                await self._accept(report, told[0].notice, told, original, full)
        await self._queue.reported(rows)
        return True

    async def _may_tell(self, report: Report) -> bool:
        """Tell whether the sender is told. Whom nobody has asked for a password may be anybody, and what is sent to him in answer
        may be sent to somebody else: so much an hour for a domain, and for the network it came from. The trace says so."""
        if report.is_known or self._throttle is None:
            return True
        counted = {"domain": report.sender.rpartition("@")[2].lower(), "network": report.network}
        charges = [
            Charge(f"reports-{what}:{name}", self._limits[what], SENDING_SECONDS)
            for what, name in counted.items()
            if name and self._limits[what]
        ]
        if not await self._throttle.take(charges):
            return True
        kinds = sorted({one.notice.value for one in report.recipients})
        _suppressed.inc()
        log.warning("a stranger is not told: too many reports an hour", message=str(report.message), **counted)
        detail = {
            "kind": kinds[0],
            "suppressed": "too many reports an hour to this domain, or for what came from this network",
            "recipients": [_shown(one) for one in report.recipients],
        }
        self._events.record(Event(report.message, self._clock(), NOTICE, detail))
        return False

    async def _accept(
        self, report: Report, kind: Notice, told: Sequence[NoticeDue], original: bytes, full: bool
    ) -> None:
        identity = notice_id(report.message, kind, (one.id for one in told))
        now = self._clock()
        path = return_path("")
        body = path + dsn.compose(
            dsn.Report(
                identity=str(identity),
                at=now,
                host=self._host,
                postmaster=self._postmaster,
                sender=report.sender,
                arrived_at=report.received_at.timestamp(),
                fates=[_fate(one) for one in told],
                original=original,
                full=full and kind is Notice.FAILED,  # RFC 3461 §4.3: RET is about failures only
                envid=report.envid,
                smtputf8=report.smtputf8,
                quotes_subject=report.is_known,
            )
        )
        facts = Body(len(body), hashlib.sha256(body).digest(), b"\r\n." in body, len(path))
        envelope = Envelope(
            id=identity,
            received_at=now,
            reverse_path="",
            recipients=(canonical(report.sender) if report.is_known else report.sender,),
            body=facts,
            summary=scan_header(body).summary,
            helo=self._host,
            protocol="ESMTP",
            role="notice",
            smtputf8=not report.sender.isascii(),
            tenant=report.tenant,
        )
        await self._ingest.accept(envelope, body)
        _notices.labels(kind.value).inc()
        log.info("its sender is told", message=str(report.message), notice=str(identity), kind=kind.value)
        detail = {"kind": kind.value, "notice": str(identity), "recipients": [_shown(one) for one in told]}
        self._events.record(Event(report.message, now, NOTICE, detail))

    async def _original(self, report: Report, full: bool) -> bytes | None:
        """Give the message without its Return-Path, or its beginning; None to try again later."""
        wanted = report.return_path_octets + (
            dsn.FULL_LIMIT + 1 if full else dsn.HEADER_LIMIT if report.is_known else STRANGER_HEADER_LIMIT
        )
        taken = bytearray()
        try:
            async with aclosing(self._bodies.stream(report.location)) as pieces:  # type: ignore[type-var]  # a generator
                async for piece in pieces:
                    taken += piece
                    if len(taken) >= wanted:
                        break
        except Unavailable as fault:
            since = self._unreadable.setdefault(report.message, time.monotonic())
            if time.monotonic() - since < _UNREADABLE_SECONDS:
                log.warning("a notice waits for its message", message=str(report.message), detail=str(fault))
                return None
            del self._unreadable[report.message]
            log.error("a notice goes without its message", message=str(report.message), detail=str(fault))
            return b""
        self._unreadable.pop(report.message, None)
        return bytes(taken[report.return_path_octets : wanted])


def _together(due: Iterable[NoticeDue]) -> list[list[NoticeDue]]:
    """Put those into one notice that were written by one transaction: whoever sees one of them sees them all, and so every relay
    makes the same notices."""
    found: dict[tuple[Notice, datetime | None], list[NoticeDue]] = {}
    for one in due:
        found.setdefault((one.notice, one.last_attempt_at), []).append(one)
    # in lots, so that no notice outgrows what the stream takes in one message
    return [lot[start : start + LOT] for lot in found.values() for start in range(0, len(lot), LOT)]


def notice_id(message: UUID, kind: Notice, rows: Iterable[int]) -> UUID:
    """The id of a notice: a UUIDv7 of the message's time, always the same one for the same rows and kind."""
    text = " ".join([str(message), kind.value, *map(str, sorted(rows))])
    chance = int.from_bytes(hashlib.sha256(text.encode()).digest()[:10])
    return UUID(
        int=message.int >> 80 << 80 | 0x7 << 76 | (chance >> 62 & 0xFFF) << 64 | 0b10 << 62 | chance & ((1 << 62) - 1)
    )


def _shown(one: NoticeDue) -> str:
    return one.original or one.recipient


def _fate(one: NoticeDue) -> dsn.Fate:
    return dsn.Fate(
        recipient=_shown(one),
        action=dsn.Action(one.notice.value),
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
