"""The delivery service as it is, in a process that kills itself (SIGKILL) at a given point.

``python -m tests.chaos.delivery_process <point> <seconds>``, with the service's settings in the
environment. Points: ``before-put``, ``after-put``, ``after-commit``, ``between-acks``, ``never``.
The seconds are those after which the stream gives up on a process that is silent.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from posthorn.adapters.blobs.files import FileBlobs
from posthorn.adapters.nats import ingest_lane as source
from posthorn.adapters.nats import layout
from posthorn.adapters.nats.ingest_lane import NatsDelivery
from posthorn.adapters.postgres.mailboxes.delivery import PostgresMailboxes
from posthorn.ports.hand_over import HandOver
from posthorn.ports.segments import Segment
from posthorn_delivery import in_flight as at_hand
from posthorn_delivery.main import main

layout.ACK_WAIT = float(sys.argv[2])
setattr(source, "ACK_WAIT", layout.ACK_WAIT)  # noqa: B010 - it is imported there
at_hand.HEARTBEAT_SECONDS = 0.5
POINT = sys.argv[1]

_put, _deliver, _ack = FileBlobs.put, PostgresMailboxes.deliver, NatsDelivery.ack
_acks = 0


def _die_at(point: str) -> None:
    if point == POINT:
        os.kill(os.getpid(), signal.SIGKILL)


async def put(self: FileBlobs, key: str, parts: Sequence[bytes]) -> None:
    _die_at("before-put")
    await _put(self, key, parts)
    _die_at("after-put")


async def deliver(
    self: PostgresMailboxes, segments: Sequence[Segment], over: HandOver | None = None
) -> int:
    entries = await _deliver(self, segments, over)
    _die_at("after-commit")
    return entries


async def ack(self: NatsDelivery) -> None:
    global _acks
    await _ack(self)
    _acks += 1
    if _acks == 5:
        await self._connection.client.flush()
        _die_at("between-acks")


FileBlobs.put = put  # type: ignore[method-assign]
PostgresMailboxes.deliver = deliver  # type: ignore[method-assign]
NatsDelivery.ack = ack  # type: ignore[method-assign]
main()
