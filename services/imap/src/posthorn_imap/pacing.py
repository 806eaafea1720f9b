"""How a long command gives others their turn, and its client signs of life.

Rules:

- After ``SLICE_SECONDS`` of work the event loop has its turn.
- Every ``PROGRESS_SECONDS`` the client is told how far the command is (RFC 9585), so that neither it
  nor a middlebox gives up; where that capability is hidden, that the server is there.
- A client that has gone ends the command: ``out.room`` raises ConnectionError.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from posthorn.wire.imap import replies

if TYPE_CHECKING:
    from posthorn_imap.session import ImapSession

SLICE_SECONDS = 0.003
PROGRESS_SECONDS = 10.0
_LOOK_SECONDS = 0.1  # how often it is looked whether the client is there


class Pace:
    """The time that one command takes."""

    def __init__(self, session: ImapSession) -> None:
        self._session = session
        self._slice_end = 0.0
        self._begin(time.monotonic())
        self._progress_at = self._slice_end + PROGRESS_SECONDS
        self._look_at = self._slice_end + _LOOK_SECONDS

    def _begin(self, now: float) -> None:
        self._slice_end = now + SLICE_SECONDS

    @property
    def is_over(self) -> bool:
        """Whether ``turn`` is due."""
        return time.monotonic() >= self._slice_end

    async def turn(self, done: int = 0, total: int = 0) -> None:
        """Give others their turn if it is due; ``done`` of ``total`` messages have been looked at.
        Raises ConnectionError when the client is gone."""
        now = time.monotonic()
        if now < self._slice_end:
            return
        if now >= self._progress_at:
            self._progress_at = now + PROGRESS_SECONDS
            self._session.out.send(self._progress(done, total))
            self._look_at = now
        if now >= self._look_at:
            self._look_at = now + _LOOK_SECONDS
            await self._session.out.room()
        await asyncio.sleep(0)
        self._begin(time.monotonic())

    def _progress(self, done: int, total: int) -> bytes:
        if "INPROGRESS" in self._session.hidden:
            return replies.untagged("OK", "Still here")
        return replies.in_progress(self._session.tag, done, total)
