"""Large requests, a few at a time: a message of many megabytes is several times in memory while it is read and made.

The place is given after the key was recognised and before the body is read, so that nobody without a key can hold one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request

from posthorn.ports.faults import Unavailable

SEND_PATH = "/v1/send"
"""The one operation that takes large bodies."""
SMALL = 1024 * 1024
"""Octets up to which a body counts as small."""
_BODY_SECONDS = 30.0
_LARGE_SECONDS = 120.0
_WAIT_SECONDS = 20.0


class LargeBodies:
    """Bounds the large bodies that are at hand."""

    def __init__(self, at_once: int = 2) -> None:
        self._places = asyncio.Semaphore(at_once)

    def patience(self, request: Request) -> float:
        """Seconds in which the body must have come."""
        return _LARGE_SECONDS if _is_large(request) else _BODY_SECONDS

    @asynccontextmanager
    async def room(self, request: Request) -> AsyncIterator[None]:
        """Hold a place while the request is at hand, if it is large. Raises Unavailable when none comes free."""
        if not _is_large(request):
            yield
            return
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await self._places.acquire()
        except TimeoutError:
            raise Unavailable("api", "too many large bodies at a time") from None
        try:
            yield
        finally:
            self._places.release()


def _is_large(request: Request) -> bool:
    """One whose length is not said may be large."""
    if request.url.path != SEND_PATH:
        return False
    length = request.headers.get("content-length", "")
    return not (length.isascii() and length.isdigit() and int(length) <= SMALL)
