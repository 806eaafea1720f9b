"""A watch of a key-value bucket: all present keys, then every change.

A watch ends with a lost connection, a gap in its sequence or missed heartbeats; then a new one
begins, which delivers all keys again. Until it has, what was known before stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from nats.aio.msg import Msg

from posthorn.adapters.nats.bucket import is_removal
from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.watch import Watch
from posthorn.ports.errors import Unavailable

log = structlog.get_logger()

_AGAIN_WAIT = 0.5
_LONGEST_WAIT = 30.0


class KeyWatch:
    """Watches the bucket ``name`` while ``run`` runs.

    ``on_all`` gets the whole content, each time that a watch begins; ``on_change`` a key and its
    value, None when it is deleted. At most ``most`` keys are taken from a beginning.
    """

    def __init__(
        self,
        connection: Connection,
        name: str,
        on_all: Callable[[dict[str, bytes]], None],
        on_change: Callable[[str, bytes | None], None],
        *,
        most: int = 100_000,
    ) -> None:
        self._connection = connection
        self._stream, self._prefix = f"KV_{name}", f"$KV.{name}."
        self._watch = Watch(
            connection,
            self._stream,
            {"deliver_policy": "last_per_subject", "filter_subject": f"{self._prefix}>"},
            self._take,
            self._ended,
        )
        self._on_all, self._on_change = on_all, on_change
        self._most = most
        self._pending = -1  # messages of the beginning; -1: not known yet
        self._beginning: dict[str, bytes] | None = None
        self.is_live = False
        """Whether changes arrive now."""

    async def run(self) -> None:
        """Keep the watch alive until cancelled."""
        self._connection.on_down(self._watch.end)
        wait = _AGAIN_WAIT
        try:
            while True:
                try:
                    self._beginning, self._pending = {}, -1
                    if await self._watch.once(self._began):
                        log.warning("a watch is silent; starting a new one", stream=self._stream)
                    wait = _AGAIN_WAIT
                except Unavailable:
                    wait = min(wait * 2, _LONGEST_WAIT)  # no such bucket yet
                except Exception:
                    log.exception("a watch failed; starting a new one", stream=self._stream)
                await asyncio.sleep(wait)
        finally:
            self._connection.forget(self._watch.end)
            self.is_live = False

    async def _began(self, made: Mapping[str, Any]) -> None:
        self._pending = int(made["num_pending"]) + int(made["delivered"]["consumer_seq"])
        self._begin_when_whole()
        self.is_live = not self._watch.is_broken

    def _ended(self) -> None:
        self.is_live = False

    def _take(self, message: Msg) -> None:
        key = message.subject.removeprefix(self._prefix)
        value = None if is_removal(message) else message.data
        if self._beginning is None:
            self._on_change(key, value)
            return
        if value is None:
            self._beginning.pop(key, None)
        elif len(self._beginning) < self._most:
            self._beginning[key] = value
        self._begin_when_whole()

    def _begin_when_whole(self) -> None:
        """Hand over the whole content once it has arrived."""
        if self._beginning is not None and 0 <= self._pending <= self._watch.sequence:
            content, self._beginning = self._beginning, None
            self._on_all(content)
