"""The unscanned lane: messages that were accepted without a verdict, judged before they are
delivered (ADR 31).

Rules:

- The header fields that smtp-in would have written are put behind the Return-Path line; the facts
  of the body follow. A body in the blob store is written anew under a key of its own: whoever has
  read the record so far finds the body that it describes.
- The judged message goes to the first lane under an id that is the same from every process, then
  this one is acknowledged. Delivery knows messages by their ids, so that a repeat is harmless.
- While an engine is away whose setting says ``hold`` or ``defer``, the message stays; so does one
  that cannot be judged through a fault of ours. Delivery moves what stays too long, without a
  verdict; shortly before, what an engine is missing from goes on with the verdict of the others.
- What does not read goes on as it is: delivery parks it.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol

import structlog
from prometheus_client import Counter

from posthorn.model.authority import ForgedEnvelopeError, admitted
from posthorn.model.envelope import Body, Envelope, Record, RecordError, decode_record
from posthorn.model.filter_decision import decide, sender_of
from posthorn.model.filter_policy import DEFAULT_POLICY, Action
from posthorn.model.verdict import Verdict
from posthorn.model.verdict_fields import verdict_fields
from posthorn.ports.blobs import Blobs
from posthorn.ports.errors import Unavailable
from posthorn.ports.ingest import Delivery, IngestSource
from posthorn.ports.scan import MessageQuestion
from posthorn.runtime.tasks import cancel_and_wait
from posthorn_scan.contents import Contents
from posthorn_scan.tier import Tier

log = structlog.get_logger()

_moved = Counter(
    "posthorn_scan_unscanned_total", "Messages of the unscanned lane, by outcome", ["outcome"]
)
for _outcome in ("judged", "held", "failed", "unreadable"):
    _moved.labels(_outcome)

AGAIN_SECONDS = 15.0
"""Seconds after which a message that stayed is tried again."""
_PROGRESS_SECONDS = 3.0
_TAKEN_BYTES = 16 * 1024**2
_FIELD_END = re.compile(rb"\r\n(?![ \t])")


class Lane(Protocol):
    """Where judged messages go."""

    async def publish(self, subject: str, envelope: Envelope, body: bytes | None) -> None:
        """Store a judged message that waited under this subject in the lane of its role; a repeat
        is harmless. Raises Unavailable."""
        ...

    async def pass_on(self, subject: str, octets: bytes, known_as: str) -> None:
        """Store a record as it is. ``known_as``: id against duplicates. Raises Unavailable."""
        ...


class UnscannedLane:
    """Judges what waits in the lane while ``run`` runs. ``parallel``: messages at a time;
    ``wait_seconds``: after which delivery moves a message without a verdict; 0: never."""

    def __init__(
        self,
        source: IngestSource,
        lane: Lane,
        tier: Tier,
        contents: Contents,
        blobs: Blobs,
        *,
        hostname: str,
        wait_seconds: float,
        parallel: int = 8,
        new_suffix: Callable[[], str],
    ) -> None:
        self._source, self._lane, self._tier = source, lane, tier
        self._contents, self._blobs = contents, blobs
        self._hostname = hostname
        # after which a message that waits for an engine has its last tries before delivery moves it
        self._patience = max(wait_seconds - 2 * AGAIN_SECONDS, wait_seconds / 2) or math.inf
        self._parallel = parallel
        self._new_suffix = new_suffix
        self._working: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Judge until cancelled."""
        while True:
            try:
                room = self._parallel - len(self._working)
                if room <= 0:
                    await asyncio.wait(self._working, return_when=asyncio.FIRST_COMPLETED)
                    continue
                for each in await self._source.take(room, _TAKEN_BYTES):
                    task = asyncio.create_task(self._handle(each), name="unscanned message")
                    self._working.add(task)
                    task.add_done_callback(self._working.discard)
            except Unavailable:
                await asyncio.sleep(1)

    async def finish(self, seconds: float) -> None:
        """Wait for what is under way; return the rest to the stream."""
        await self._source.stop()
        if self._working:
            _, late = await asyncio.wait(self._working, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _handle(self, delivery: Delivery) -> None:
        try:
            await _reporting(delivery, self._move(delivery))
        except asyncio.CancelledError:
            await delivery.nak(0)
            raise
        except Unavailable as fault:
            _moved.labels("failed").inc()
            log.warning("a message stays unscanned", fault=fault)
            await delivery.nak(AGAIN_SECONDS)
        except Exception:
            _moved.labels("failed").inc()
            log.exception("a message stays unscanned")
            await delivery.nak(AGAIN_SECONDS)

    async def _move(self, delivery: Delivery) -> None:
        try:
            record = admitted(decode_record(delivery.octets), delivery.subject)
        except (RecordError, ForgedEnvelopeError) as error:
            _moved.labels("unreadable").inc()
            log.error("an unscanned message does not read", detail=str(error))
            digest = hashlib.sha256(delivery.octets).hexdigest()[:32]
            await self._lane.pass_on(delivery.subject, delivery.octets, digest)
            await delivery.ack()
            return
        envelope = record.envelope
        if record.body is not None:
            moved = await self._judged(envelope, record.body)
        else:
            assert envelope.blob is not None
            async with self._contents.blob(envelope.blob, 0, envelope.body.size) as body:
                moved = await self._judged(envelope, body)
        if moved is None:
            _moved.labels("held").inc()
            await delivery.nak(AGAIN_SECONDS)
            return
        await self._lane.publish(delivery.subject, moved.envelope, moved.body)
        await delivery.ack()
        _moved.labels("judged").inc()

    async def _judged(self, envelope: Envelope, body: bytes) -> Record | None:
        """Return the record with its verdict; None if an engine is away that must be waited
        for."""
        content = body[trace_bytes(body, envelope.body.return_path_octets) :]
        verdict = await self._tier.judge(
            MessageQuestion(
                message_id=str(envelope.id),
                client=envelope.client_address,
                helo=envelope.helo,
                reverse_path=envelope.reverse_path,
                recipients=envelope.recipients,
                received_at=envelope.received_at,
                hostname=self._hostname,
                content=content,
                size=len(content),
                smtputf8=envelope.smtputf8,
            ),
            content,
        )
        waited = time.time() - envelope.received_at
        if (verdict.hold or verdict.defer) and waited < self._patience:
            return None
        verdict = replace(verdict, hold=False, defer=False)
        return await self._with_fields(envelope, body, verdict)

    async def _with_fields(self, envelope: Envelope, body: bytes, verdict: Verdict) -> Record:
        sender = sender_of(
            envelope.summary.from_,
            envelope.reverse_path,
            envelope.client_address,
            verdict.authentication,
        )
        decision = decide(verdict, DEFAULT_POLICY, sender)
        fields = verdict_fields(
            verdict,
            hostname=self._hostname,
            reverse_path=envelope.reverse_path,
            helo=envelope.helo,
            client=envelope.client_address,
            message_id=str(envelope.id),
            is_spam=decision.action is not Action.DELIVER,
        )
        at = envelope.body.return_path_octets
        whole = b"".join((body[:at], fields, body[at:]))
        facts = await asyncio.to_thread(Body.from_message, whole, at)
        judged = replace(envelope, body=facts, verdict=verdict)
        if envelope.blob is None:
            return Record(judged, whole)
        key = f"{envelope.blob}.{self._new_suffix()}"
        await self._blobs.put(key, [whole])
        return Record(replace(judged, blob=key), None)


def trace_bytes(body: bytes, return_path_bytes: int) -> int:
    """Return the bytes of our trace fields at the start: Return-Path and Received."""
    if body[return_path_bytes : return_path_bytes + 9].lower() != b"received:":
        return return_path_bytes
    end = _FIELD_END.search(body, return_path_bytes)
    return end.end() if end else return_path_bytes


async def _reporting(delivery: Delivery, work: Awaitable[None]) -> None:
    """Do the work, and report progress meanwhile, so that nobody else gets the message."""

    async def report() -> None:
        while True:
            await asyncio.sleep(_PROGRESS_SECONDS)
            await delivery.in_progress()

    reporting = asyncio.create_task(report(), name="progress")
    try:
        await work
    finally:
        await cancel_and_wait(reporting)
