"""TLS before a server that speaks none: what comes over TLS is passed on, and back."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


@asynccontextmanager
async def tls_front(context: ssl.SSLContext, target: int) -> AsyncIterator[int]:
    """Listen with TLS before a port of 127.0.0.1. Return the port of the listener."""
    carrying: set[asyncio.Task[None]] = set()

    async def pump(source: asyncio.StreamReader, goal: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while octets := await source.read(65536):
                goal.write(octets)
                await goal.drain()
        goal.close()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", target)
        for source, goal in ((reader, back), (there, writer)):
            task = asyncio.create_task(pump(source, goal))
            carrying.add(task)
            task.add_done_callback(carrying.discard)

    listener = await asyncio.start_server(carry, "127.0.0.1", 0, ssl=context)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        for task in carrying:
            task.cancel()
