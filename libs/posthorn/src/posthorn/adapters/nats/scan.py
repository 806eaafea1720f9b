"""A single pass through a stream, up to its present end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

from nats.aio.msg import Msg

from posthorn.adapters.nats.connection import REQUEST_TIMEOUT, Connection
from posthorn.adapters.nats.inbox import receiving
from posthorn.ports.errors import Unavailable

_CHUNK = 500
_SECOND = 1_000_000_000


async def read_through(
    connection: Connection, stream: str, choice: dict[str, Any], most: int | None = None
) -> AsyncGenerator[Msg]:
    """Yield at most ``most`` messages that a consumer configured by ``choice`` finds. Raises
    Unavailable.

    Uses a temporary consumer; close the iterator (``contextlib.aclosing``) when leaving early.
    """
    config = {
        "ack_policy": "none",
        "mem_storage": True,
        "num_replicas": 1,
        "inactive_threshold": 30 * _SECOND,
        **choice,
    }
    made = await connection.api(
        f"CONSUMER.CREATE.{stream}", {"stream_name": stream, "config": config}
    )
    left = int(made["num_pending"]) if most is None else min(most, int(made["num_pending"]))
    if not left:
        return
    try:
        async with receiving(connection) as (inbox, received):
            while left > 0:
                batch = min(left, _CHUNK)
                pull_request = json.dumps({"batch": batch, "no_wait": True}).encode()
                await connection.publish(
                    f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{made['name']}", pull_request, inbox
                )
                for _ in range(batch):
                    try:
                        async with asyncio.timeout(REQUEST_TIMEOUT):
                            message = await received.get()
                    except TimeoutError:
                        raise Unavailable("nats", f"reading {stream} stalled") from None
                    if not message.reply:
                        if (message.headers or {}).get("Status") == "404":
                            return  # counted messages were removed or replaced meanwhile
                        raise Unavailable("nats", f"reading {stream} ended early")
                    yield message
                    left -= 1
                    if message.metadata.num_pending == 0:
                        return
    finally:
        with suppress(Unavailable):
            await connection.publish(f"$JS.API.CONSUMER.DELETE.{stream}.{made['name']}")
