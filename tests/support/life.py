"""A service process made of nothing but runtime, for tests of its life: ``python -m
tests.support.life SCENE``.

It listens with a one-line protocol: it greets, and on a drain says goodbye, except to a client that
said ``stay``.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import cast

import structlog
from pydantic import SecretStr

from posthorn.ports.errors import Unavailable
from posthorn.runtime.http import bind
from posthorn.runtime.listen import ConnectionLimiter, listening
from posthorn.runtime.process import Process, serve
from posthorn.runtime.settings import BlobSettings, ProcessSettings

log = structlog.get_logger()


class Session(asyncio.Protocol):
    def __init__(self, limiter: ConnectionLimiter) -> None:
        self._limiter = limiter
        self._stays = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._limiter.admit(self, "client")
        self._transport.write(b"hello\n")

    def connection_lost(self, exc: Exception | None) -> None:
        self._limiter.leave(self)

    def data_received(self, data: bytes) -> None:
        self._stays = data.startswith(b"stay")
        self._transport.write(b"you said " + data)

    def begin_drain(self) -> None:
        if not self._stays:
            self._transport.write(b"goodbye\n")
            self._transport.close()

    def abort(self) -> None:
        self._transport.abort()


@asynccontextmanager
async def part(name: str) -> AsyncIterator[None]:
    log.info("opened", part=name)
    try:
        yield
    finally:
        await asyncio.sleep(0.01)
        log.info("closed", part=name)


async def idle() -> None:
    await asyncio.Event().wait()


async def fail() -> None:
    await asyncio.sleep(0.1)
    raise RuntimeError("the task has a bug")


async def finish() -> None:
    await asyncio.sleep(0.1)


async def fail_when_stopped() -> None:
    try:
        await idle()
    finally:
        raise RuntimeError("a bug on the way out")


async def start(process: Process) -> None:
    scene = sys.argv[1]
    await process.stack.enter_async_context(part("backend"))
    work = {
        "fail": fail,
        "finish": finish,
        "bad end": fail_when_stopped,
        "fail while starting": fail,
    }.get(scene, idle)
    await process.task(work(), "work")
    match scene:
        case "no start":
            raise Unavailable("postgres", "cannot connect")
        case "bad settings":
            # it takes long, and only this scene needs it
            from posthorn.adapters.blobs.config import open_blobs

            await process.stack.enter_async_context(
                open_blobs(BlobSettings(blobs=SecretStr("s3://k:hidden@x")))
            )
        case "hung thread":
            hung = ThreadPoolExecutor(1)
            hung.submit(time.sleep, 300)
            hung.shutdown(wait=False)
        case "slow start" | "fail while starting":
            log.info("waiting")
            await idle()
    limiter = ConnectionLimiter(100, 100)
    listener = bind("127.0.0.1", 0, "POSTHORN_PORT")
    grace = process.settings.grace_seconds
    port = await process.stack.enter_async_context(
        listening(lambda: Session(limiter), listener, limiter, grace=grace)
    )
    log.info("listening", port=port)


if __name__ == "__main__":
    serve("life", ProcessSettings.load(), start)
