"""uvicorn inside a process that has signal handlers and an exit stack of its own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import uvicorn


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the process's own handlers stay in place


def bind(host: str, port: int, variable: str) -> socket.socket:
    """Bind a TCP socket. Raises SystemExit naming the settings variable when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise SystemExit(
            f"refusing to start: {variable}: cannot listen on {host} port {port}: {error.strerror}"
        ) from None
    listener.setblocking(False)
    return listener


@asynccontextmanager
async def http_server(app: Any, listener: socket.socket, *, grace: float = 5.0) -> AsyncIterator[int]:
    """Serve an ASGI application on a bound socket; gives the port. On leaving, open requests have ``grace`` seconds."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=max(1, round(grace)),
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    try:
        while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn offers no event
            await asyncio.sleep(0.005)
        if serving.done():
            serving.result()
        yield int(listener.getsockname()[1])
    finally:
        server.should_exit = True
        with suppress(asyncio.CancelledError):
            await serving
        listener.close()
