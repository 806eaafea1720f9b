"""Gives up waiting for the scanning tier: moves what has waited too long in the unscanned lane to
the first one, with a verdict that says so (ADR 31).

The header of a message says ``X-Posthorn-Verdict: unscanned`` then, unless its body is in the blob
store, where it would have to be written anew.

One process leads. A message that scan judges at the same moment is stored once: both use the same
id, and delivery knows messages by their own.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import structlog
from prometheus_client import Counter, Gauge

from posthorn.model.envelope import Body, Record, RecordError, decode_record, encode_record
from posthorn.model.verdict import Verdict
from posthorn.ports.errors import Unavailable
from posthorn.ports.unscanned import UnscannedMessages, WaitingMessage
from posthorn.wire.auth.authentication_results import verdict_field

log = structlog.get_logger()

_messages = Gauge(
    "posthorn_delivery_unscanned_messages", "Messages that wait for the scanning tier"
)
_oldest = Gauge(
    "posthorn_delivery_unscanned_oldest_seconds",
    "Age of the oldest message that waits for the scanning tier",
)
_gave_up = Counter(
    "posthorn_delivery_unscanned_given_up_total",
    "Messages delivered unscanned, because the scanning tier was away too long",
)

LOOK_SECONDS = 10.0
_AT_ONCE = 200


class UnscannedMover:
    """``wait_seconds``: how long a message waits; 0: until it is scanned. ``lead`` takes the lease
    for so many seconds; False: another process holds it."""

    def __init__(
        self,
        lane: UnscannedMessages,
        wait_seconds: float,
        lead: Callable[[float], Awaitable[bool]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._lane = lane
        self._wait_seconds = wait_seconds
        self._lead = lead
        self._clock = clock

    async def run(self) -> None:
        """Look until cancelled; run as a supervised task."""
        while True:
            try:
                await self.look()
            except Unavailable as fault:
                log.warning("the unscanned lane cannot be looked at", fault=fault)
            except Exception:
                log.exception("the unscanned lane cannot be looked at")
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> int:
        """Move what has waited too long; return how many. Raises Unavailable."""
        backlog = await self._lane.backlog()
        now = datetime.fromtimestamp(self._clock(), UTC)
        _messages.set(backlog.messages)
        _oldest.set(
            0.0 if backlog.oldest is None else max(0.0, (now - backlog.oldest).total_seconds())
        )
        moment = now - timedelta(seconds=self._wait_seconds)
        if not self._wait_seconds or backlog.oldest is None or backlog.oldest >= moment:
            return 0
        moved = 0
        while await self._lead(3 * LOOK_SECONDS):
            found = await self._lane.stored_before(moment, _AT_ONCE)
            for each in found:
                await self._move(each)
            moved += len(found)
            if len(found) < _AT_ONCE:
                break
        if moved:
            log.error("messages are delivered unscanned", messages=moved)
        return moved

    async def _move(self, message: WaitingMessage) -> None:
        try:
            record = decode_record(message.octets)
        except RecordError:
            # delivery parks it
            digest = hashlib.sha256(message.octets).hexdigest()[:32]
            await self._lane.move(message, message.octets, digest)
            return
        verdict = Verdict(self._clock(), is_complete=False, gave_up=True)
        marked = _marked(record)
        octets = encode_record(replace(marked.envelope, verdict=verdict), marked.body)
        await self._lane.move(message, octets, str(record.envelope.id))
        _gave_up.inc()


def _marked(record: Record) -> Record:
    """Return a record with the field that tells programs of its recipients that nobody scanned it,
    if it has its body."""
    if record.body is None:
        return record
    at = record.envelope.body.return_path_octets
    field = verdict_field("unscanned", message_id=str(record.envelope.id))
    body = b"".join((record.body[:at], field, record.body[at:]))
    return Record(replace(record.envelope, body=Body.from_message(body, at)), body)
