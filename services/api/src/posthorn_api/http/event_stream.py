"""An answer of server-sent events (WHATWG HTML §9.2): it ends with its connection, with the right to it,
and with the process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, suppress
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from posthorn.ports.errors import Unavailable
from posthorn_api.http.asgi import EVENT_STREAM
from posthorn_api.http.problems import Problem, problem_of

_CHECK_SECONDS = 0.4
"""Together with the time for which the guard remembers a caller: under two seconds."""
_FAREWELL_SECONDS = 1.0


class EventStream(Response):
    """The answer. It ends with the connection, with the right to it, and with the process."""

    def __init__(
        self,
        pieces: AsyncIterator[bytes],
        check: Callable[[], Awaitable[None]],
        closing: asyncio.Event,
        held: ExitStack,
    ) -> None:
        headers = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}
        super().__init__(status_code=200, headers=headers)
        self.raw_headers = [
            (name, value) for name, value in self.raw_headers if name != b"content-length"
        ]
        self.raw_headers.append((b"content-type", EVENT_STREAM.encode()))
        self._pieces, self._check, self._closing, self._held = pieces, check, closing, held

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send it (ASGI)."""
        with self._held:
            start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(start)
            sending = asyncio.create_task(self._send(send))
            ends = (
                sending,
                asyncio.create_task(_gone(receive)),
                asyncio.create_task(self._closing.wait()),
            )
            allowed = asyncio.create_task(self._until_forbidden())
            try:
                await asyncio.wait((*ends, allowed), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (*ends, allowed):
                    task.cancel()
                with suppress(asyncio.CancelledError, OSError):
                    await sending
            last = b""
            if allowed.done() and not allowed.cancelled():
                problem = problem_of(_reason(allowed))
                last = server_event("end", {"status": problem.status, "detail": problem.detail})
            with suppress(TimeoutError):
                async with asyncio.timeout(_FAREWELL_SECONDS):
                    await send({"type": "http.response.body", "body": last})

    async def _send(self, send: Send) -> None:
        async for piece in self._pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})

    async def _until_forbidden(self) -> None:
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            with suppress(Unavailable):  # nobody can take a right away meanwhile
                await self._check()


def server_event(name: str, data: dict[str, Any]) -> bytes:
    """Return a message of a stream; ``name`` empty: without one."""
    text = json.dumps(data, ensure_ascii=True)
    return (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode()


def _reason(ended: asyncio.Task[None]) -> Exception:
    error = ended.exception()
    return error if isinstance(error, Exception) else Problem(403, "forbidden", "no more")


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
