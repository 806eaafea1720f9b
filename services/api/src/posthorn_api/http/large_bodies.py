"""Large requests, a few at a time: a message of many megabytes is several times in memory while it
is read and made.

A slot is given after the key was recognised and before the body is read, so that nobody without a
key can hold one. Whose turn it is: ``runtime.fair_slots``; keys of one tenant are one holder.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request

from posthorn.runtime.fair_slots import FairSlots
from posthorn.runtime.holders import present_holder
from posthorn_api.http.large_json import SMALL

SEND_PATH = "/v1/send"
"""The one operation that takes large bodies."""
_BODY_SECONDS = 30.0
_LARGE_SECONDS = 120.0


class LargeBodies:
    """Bounds the large bodies that are at hand."""

    def __init__(self, at_once: int = 2) -> None:
        self.slots = FairSlots("large requests", at_once, wait_seconds=20.0)

    def patience(self, request: Request) -> float:
        """Seconds in which the body must have come."""
        return _LARGE_SECONDS if _is_large(request) else _BODY_SECONDS

    @asynccontextmanager
    async def room(self, request: Request) -> AsyncIterator[None]:
        """Hold a slot while the request is handled, if it is large. Raises SlotsTaken when none
        comes free."""
        if not _is_large(request):
            yield
            return
        async with self.slots.hold(present_holder()):
            yield


def _is_large(request: Request) -> bool:
    """One whose length is not said may be large."""
    if request.url.path != SEND_PATH:
        return False
    length = request.headers.get("content-length", "")
    return not (length.isascii() and length.isdigit() and int(length) <= SMALL)
