"""The messages of a frame on INGEST, each a delivery of its own (ADR 34).

Rules:

- The frame is acknowledged when each of its messages is: each is stored elsewhere. One that must
  wait is stored in the retry lane by itself before.
- If a message is returned to the stream instead, the frame is, once all of its messages have come
  to an end here. Those delivered before are recognised by their ids when it comes again.
- While one of them is reported as in progress, so is the frame.
- A message has the subject that it would have outside a frame, so that whoever judges its
  envelope needs to know nothing of frames. So has a frame that does not read: it is passed on as
  one message, which delivery parks.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from posthorn.adapters.nats.acks import read_ack
from posthorn.adapters.nats.connection import Connection
from posthorn.model.frame import FrameError, decode_frame
from posthorn.model.streams import (
    is_frame,
    messages_under,
    retry_subject,
    stream_of,
    subject_in_frame,
)
from posthorn.ports.ingest import Delivery

_REPORT_SECONDS = 0.25
"""Least interval of a frame's progress reports, of which each of its messages asks for one."""


class Carrier(Delivery, Protocol):
    """A stream message taken from INGEST."""

    ours_until: float
    """When the stream delivers it again unless progress is reported (monotonic clock)."""

    async def set_part_aside(self, number: int, subject: str, octets: bytes) -> None:
        """Publish one of its messages to the retry lane; a repeat is harmless. Raises Unavailable
        or Full."""
        ...


class _Frame:
    """A frame whose messages are being delivered."""

    def __init__(self, carrier: Carrier, messages: int) -> None:
        self.carrier = carrier
        self._open = messages
        self._again_after: float | None = None
        self._reported_at = 0.0

    async def ended(self, again_after: float | None) -> None:
        """Note the end of one message; ``again_after``: seconds after which it is to come
        again."""
        self._open -= 1
        if again_after is not None:
            known = self._again_after
            self._again_after = again_after if known is None else min(known, again_after)
        if self._open:
            return
        if self._again_after is None:
            await self.carrier.ack()
        else:
            await self.carrier.nak(self._again_after)

    async def in_progress(self) -> None:
        now = time.monotonic()
        if now - self._reported_at >= _REPORT_SECONDS:
            self._reported_at = now
            await self.carrier.in_progress()


class FramedDelivery:
    """A message of a frame. Only its first end counts."""

    __slots__ = ("_frame", "_has_ended", "_number", "octets", "subject")

    def __init__(self, frame: _Frame, number: int, octets: bytes) -> None:
        self._frame = frame
        self._number = number
        self._has_ended = False
        self.octets = octets
        self.subject = subject_in_frame(frame.carrier.subject)

    @property
    def attempt(self) -> int:
        """That of its frame."""
        return self._frame.carrier.attempt

    @property
    def stored_as(self) -> str:
        """That of its frame, and its place there."""
        return f"{self._frame.carrier.stored_as}.{self._number}"

    @property
    def ours_until(self) -> float:
        """That of its frame."""
        return self._frame.carrier.ours_until

    async def ack(self) -> None:
        await self._end(None)

    async def nak(self, delay: float) -> None:
        await self._end(delay)

    async def set_aside(self) -> None:
        await self._frame.carrier.set_part_aside(self._number, self.subject, self.octets)

    async def in_progress(self) -> None:
        await self._frame.in_progress()

    async def _end(self, again_after: float | None) -> None:
        if not self._has_ended:
            self._has_ended = True
            await self._frame.ended(again_after)


def messages_of[C: Carrier](carrier: C) -> Sequence[C | FramedDelivery]:
    """Return the messages of a stream message: those of a frame, or itself."""
    if not is_frame(carrier.subject):
        return [carrier]
    try:
        records = decode_frame(carrier.octets, messages_under(carrier.subject))
    except FrameError:
        records = [carrier.octets]
    frame = _Frame(carrier, len(records))
    return [FramedDelivery(frame, number, record) for number, record in enumerate(records)]


async def put_aside(connection: Connection, subject: str, data: bytes, known_as: str) -> None:
    """Publish a message of the first lane to the retry lane of its partition. ``known_as``: id
    against duplicates. Raises Unavailable or Full."""
    answer = await connection.request(
        retry_subject(subject), data, {"Nats-Msg-Id": f"aside.{known_as}"}
    )
    read_ack(answer, stream_of(subject))
