"""Reads the automatic reports that mailboxes received; one API process at a time does.

Rules:

- Delivery has noted them (``received_reports``); the message stays where its owner finds it.
- A report is read once: its row is closed in the transaction that adds its figures, and a second
  one with the same id is a duplicate.
- What a stranger sends takes a bounded part of memory and time, in a thread of its own; a report
  that cannot be read is closed with the reason, and holds up no other.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import Any

import structlog
from prometheus_client import Counter

from posthorn.model.events import COMPLAINED, Event
from posthorn.model.verdict import ReportKind
from posthorn.ports.bodies import BodyReader
from posthorn.ports.errors import Unavailable
from posthorn.ports.events import Events
from posthorn.ports.reports import KEPT_DAYS, ReceivedReport, ReportInbox, Stored
from posthorn.wire.reports.abuse import Complaint, parse_abuse
from posthorn.wire.reports.reading import find_dmarc, find_tls
from posthorn.wire.reports.unpacking import ReportError

log = structlog.get_logger()

MOST_BYTES = 25 * 1024 * 1024
"""Bytes of a message with a report that is read."""
LEAD_SECONDS = 120.0
_BATCH = 20
_WAIT_SECONDS = 10.0
_PUT_OFF_SECONDS = 300.0
_MOST_ATTEMPTS = 20
_FORGET_SECONDS = 3600.0
_FORGET_ROWS, _FORGET_ROUNDS = 5000, 100

_read = Counter(
    "posthorn_api_reports_read_total", "Automatic reports read, by kind and outcome", ["kind", "to"]
)
_complaints = Counter(
    "posthorn_api_complaints_total", "Complaints stored, by what followed", ["to"]
)


class ReportReader:
    """Reads reports; ``run`` is a supervised task."""

    def __init__(
        self,
        inbox: ReportInbox,
        bodies: BodyReader,
        events: Events,
    ) -> None:
        self._inbox = inbox
        self._bodies = bodies
        self._events = events
        self._forget_at = 0.0

    async def run(self) -> None:
        """Read for ever, while no other process does."""
        while True:
            try:
                while await self._inbox.lead(LEAD_SECONDS) and await self.read_waiting():
                    pass
                await self._forget()
            except Unavailable as fault:
                log.warning("reports wait to be read", fault=fault)
            await asyncio.sleep(_WAIT_SECONDS)

    async def read_waiting(self) -> bool:
        """Read what is due; return whether there may be more. Raises Unavailable."""
        waiting = await self._inbox.waiting(_BATCH)
        for received in waiting:
            await self._read(received)
        return len(waiting) >= _BATCH

    async def _read(self, received: ReceivedReport) -> None:
        try:
            message = await self._body(received)
            stored = await self._stored(received, message)
        except ReportError as error:
            await self._inbox.fail(received, str(error))
            log.info("a report cannot be read", message=str(received.message), detail=str(error))
            stored = Stored.FAILED
        except Exception as fault:
            if isinstance(fault, Unavailable) and fault.part == "postgres":
                raise
            # a fault of ours, or of the blob store: it holds up no other
            log.warning(
                "a report waits",
                message=str(received.message),
                fault=fault,
            )
            if received.attempts >= _MOST_ATTEMPTS:
                await self._inbox.fail(received, f"given up: {type(fault).__name__}")
                stored = Stored.FAILED
            else:
                await self._inbox.put_off(received, _PUT_OFF_SECONDS)
                return
        _read.labels(received.kind.value, stored.value).inc()

    async def _body(self, received: ReceivedReport) -> bytes:
        location = received.location
        if location is None:
            raise ReportError("its message was deleted before it was read")
        if location.size > MOST_BYTES:
            raise ReportError(f"its message is larger than {MOST_BYTES} bytes")
        taken = bytearray()
        async with aclosing(self._bodies.stream(location)) as pieces:
            async for piece in pieces:
                taken += piece
        return bytes(taken)

    async def _stored(self, received: ReceivedReport, message: bytes) -> Stored:
        if received.kind is ReportKind.DMARC:
            report = await asyncio.to_thread(find_dmarc, message)
            return await self._inbox.store_dmarc(received, report)
        if received.kind is ReportKind.TLS:
            found = await asyncio.to_thread(find_tls, message)
            return await self._inbox.store_tls(received, found)
        complaint = await asyncio.to_thread(parse_abuse, message)
        if not complaint.is_complaint:
            raise ReportError(f"feedback of the type {complaint.feedback_type} is no complaint")
        return await self._complained(received, complaint)

    async def _complained(self, received: ReceivedReport, complaint: Complaint) -> Stored:
        done = await self._inbox.store_complaint(received, complaint)
        if done is None:
            return Stored.DUPLICATE
        _complaints.labels("suppressed" if done.is_suppressed else "noted").inc()
        if done.message is not None:
            detail: dict[str, Any] = {
                "recipient": done.recipient,
                "suppressed": done.is_suppressed,
                "feedback_type": complaint.feedback_type,
                "reporter": received.author,
                "report": str(received.message),
            }
            if done.original:
                detail["original"] = done.original
            self._events.record(Event(done.message, time.time(), COMPLAINED, detail))
        return Stored.READ

    async def _forget(self) -> None:
        """Now and then delete what is too old, as far as one leads."""
        if time.monotonic() < self._forget_at or not await self._inbox.lead(LEAD_SECONDS):
            return
        self._forget_at = time.monotonic() + _FORGET_SECONDS
        for _ in range(_FORGET_ROUNDS):
            if await self._inbox.forget(KEPT_DAYS, _FORGET_ROWS) < _FORGET_ROWS:
                break
