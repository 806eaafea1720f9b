"""The copy of the installation's mark in the directory bucket, and the halt flag.

Both are keys of their own (``MARK_KEYS``), which the previous release ignores: they are the key of
no subject.
"""

from __future__ import annotations

import time
from contextlib import aclosing

from posthorn.adapters.nats.bucket import is_removal, put_key, read_key
from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.layout import BUCKET_PREFIX, BUCKET_STREAM, parse_time
from posthorn.adapters.nats.scan import read_through
from posthorn.model.directory_entry import HALTED_KEY, INSTALLATION_KEY, MARK_KEYS
from posthorn.model.installation import Copy, Mark, decode_mark, encode_mark
from posthorn.ports.errors import Halted

CLOCK_SECONDS = 120.0
"""Seconds by which this host's clock may differ from that of NATS before the process is not
ready."""
_GONE = {"KV-Operation": "DEL"}


class DirectoryMark:
    """The ports MarkedStore and Halting over the directory bucket."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def read(self) -> Copy:
        """See MarkedStore. An entry is data; a filled mark alone is none."""
        message = await read_key(self._connection, INSTALLATION_KEY)
        if message is None:
            return Copy(None, holds_data=await self._holds_entries())
        try:
            return Copy(decode_mark(message.data), holds_data=True)
        except ValueError as error:
            raise Halted(
                "directory", "the installation's mark in the directory bucket cannot be decoded"
            ) from error

    async def write(self, mark: Mark) -> None:
        await put_key(self._connection, INSTALLATION_KEY, encode_mark(mark))

    async def halted(self) -> str | None:
        return await read_halted(self._connection)

    async def halt(self, reason: str) -> None:
        await put_key(self._connection, HALTED_KEY, reason.encode())

    async def resume(self) -> None:
        await put_key(self._connection, HALTED_KEY, b"", _GONE)

    async def beaten_ago(self) -> float | None:
        message = await read_key(self._connection, INSTALLATION_KEY)
        if message is None:
            return None
        # by the server's clock, like the timestamp
        now = await self._connection.api(f"STREAM.INFO.{BUCKET_STREAM}")
        try:
            return _epoch(now["ts"]) - _epoch((message.headers or {})["Nats-Time-Stamp"])
        except (KeyError, TypeError, ValueError):
            return None

    async def _holds_entries(self) -> bool:
        choice = {"deliver_policy": "last_per_subject", "filter_subject": f"{BUCKET_PREFIX}>"}
        async with aclosing(read_through(self._connection, BUCKET_STREAM, choice)) as messages:
            async for message in messages:
                if message.subject.removeprefix(BUCKET_PREFIX) not in MARK_KEYS and not is_removal(
                    message
                ):
                    return True
        return False


async def read_halted(connection: Connection) -> str | None:
    """Return why the system is halted; None when it is not. Raises Unavailable."""
    message = await read_key(connection, HALTED_KEY)
    return None if message is None else message.data.decode(errors="replace")


class NatsClock:
    """Compares this host's clock with that of NATS."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def probe(self) -> None:
        """Raise Halted when the clocks differ by more than CLOCK_SECONDS, and Unavailable when
        NATS does not answer."""
        asked_at = time.time()
        answer = await self._connection.api(f"STREAM.INFO.{BUCKET_STREAM}")
        try:
            theirs = _epoch(answer["ts"])
        except (KeyError, TypeError, ValueError):
            return  # a server that does not report its time
        off = (asked_at + time.time()) / 2 - theirs
        if abs(off) > CLOCK_SECONDS:
            raise Halted("clock", f"this host's clock is {off:+.0f} s from that of NATS: set it")


def _epoch(stamp: str) -> float:
    return parse_time(stamp).timestamp()
