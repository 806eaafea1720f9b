"""Hints that mailboxes have changed, over core NATS: nothing is stored; a lost one costs a poll.

A message is a sequence of hints of 20 bytes each, big-endian: account (8), mailbox (4), modseq (8).
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from itertools import batched
from typing import Self

from nats.aio.msg import Msg
from prometheus_client import Counter

from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.following import Following
from posthorn.model.streams import MAILBOX_HINTS
from posthorn.ports.errors import Unavailable
from posthorn.ports.mailbox_hints import Changed

_malformed = Counter(
    "posthorn_mailbox_hints_malformed_total", "Messages on the hints' subject that are none"
)

_HINT = struct.Struct(">QIQ")
_MOST_AT_ONCE = 2000
"""Most hints of one message: 40,000 bytes."""
_MOST_WAITING = 20_000
"""Most hints that wait to be sent; beyond, they are lost."""
_GATHER_SECONDS = 0.01


class NatsMailboxHints:
    """The port MailboxHints on NATS; an async context manager for those that listen.

    The first hints announced are sent at once; those within the next hundredth of a second in one
    message at its end. A new connection subscribes again.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: dict[tuple[int, int], int] = {}
        self._sending: asyncio.Task[None] | None = None
        self._on_hint: Callable[[int, int, int], None] | None = None
        self._following = Following(connection, {MAILBOX_HINTS: self._heard})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._following.stop()

    async def send(self, changed: Collection[Changed]) -> None:
        """See the port."""
        with suppress(Unavailable):
            for some in batched(changed, _MOST_AT_ONCE, strict=False):
                await self._connection.publish(MAILBOX_HINTS, encode_hints(some))

    def announce(self, changed: Collection[Changed]) -> None:
        """Send hints soon; an ``Announce`` of the port."""
        for account, mailbox, modseq in changed:
            if len(self._waiting) < _MOST_WAITING or (account, mailbox) in self._waiting:
                self._waiting[account, mailbox] = modseq
        if self._sending is None and self._waiting:
            self._sending = asyncio.create_task(self._send(), name="mailbox hints")

    async def _send(self) -> None:
        try:
            while self._waiting:
                changed = [(*box, modseq) for box, modseq in self._waiting.items()]
                self._waiting = {}
                await self.send(changed)
                await asyncio.sleep(_GATHER_SECONDS)
        finally:
            self._sending = None

    async def listen(self, on_hint: Callable[[int, int, int], None]) -> None:
        """See the port; once for an object."""
        self._on_hint = on_hint
        await self._following.start()

    async def _heard(self, message: Msg) -> None:
        assert self._on_hint is not None
        try:
            hints = list(decode_hints(message.data))
        except ValueError:
            _malformed.inc()
            return
        for hint in hints:
            self._on_hint(*hint)


def encode_hints(changed: Collection[Changed]) -> bytes:
    """Return hints as a message has them."""
    return b"".join(_HINT.pack(*each) for each in changed)


def decode_hints(payload: bytes) -> Iterator[Changed]:
    """Yield the hints of a message. Raises ValueError for one that is none."""
    if not payload or len(payload) % _HINT.size:
        raise ValueError("not a sequence of hints")
    return _HINT.iter_unpack(payload)
