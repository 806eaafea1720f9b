"""A TCP proxy that can be slow, silent or gone: the network between a service and a store.

- ``swallow``: what comes on any connection disappears, and new connections are accepted and never
  answered. ``heal`` lets new connections pass; those that lost something stay silent for ever, as
  half-open connections do. None is closed by the proxy.
- ``stall``: nothing moves, and everything arrives late after ``heal``.
- ``cut``: all connections are reset and new ones refused until ``heal``.
- ``delay_seconds`` holds every piece for that long.

It runs in a thread of its own, so that tests of either kind can use it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from posthorn_local.embedded import free_port
from tests.support.polling import BUSY_SECONDS

_PIECE = 65536


class TcpProxy:
    """Listens on ``port`` of 127.0.0.1 while entered, and leads to ``target`` of the same
    address."""

    def __init__(self, target: int, port: int = 0) -> None:
        self.target = target
        self.port = port or free_port()
        self.delay_seconds = 0.0
        self.connections = 0
        """Connections that came, counted from the beginning."""
        self._passing = True
        self._deaf: set[_Carried] = set()
        self._open: set[_Carried] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._closed: list[asyncio.Server] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()
        self._call(self._listen())

    def stop(self) -> None:
        """End, with everything connected."""
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(BUSY_SECONDS)
        self._loop.close()

    def swallow(self) -> None:
        """Let everything disappear that is sent from now on."""
        self._call(self._set(passing=False, flows=True))

    def stall(self) -> None:
        """Hold everything back."""
        self._call(self._set(passing=True, flows=False))

    def cut(self) -> None:
        """Reset all connections, and refuse new ones."""
        self._call(self._cut())

    def heal(self) -> None:
        """Let everything pass again, except on connections that have lost something."""
        self._call(self._heal())

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(BUSY_SECONDS)

    async def _set(self, *, passing: bool, flows: bool) -> None:
        self._passing = passing
        if not passing:
            self._deaf |= self._open
        if flows:
            self._flows.set()
        else:
            self._flows.clear()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)

    async def _cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._closed.append(
                self._server
            )  # Python 3.13.0 stumbles when one goes while its connections are still open
            self._server = None
        for carried in list(self._open):
            carried.abort()

    async def _heal(self) -> None:
        await self._set(passing=True, flows=True)
        if self._server is None:
            await self._listen()

    async def _close(self) -> None:
        await self._cut()
        left = asyncio.all_tasks() - {task for task in (asyncio.current_task(),) if task}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        carried = _Carried(writer)
        self._open.add(carried)
        if not self._passing:
            self._deaf.add(carried)
        try:
            await self._flows.wait()
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
            carried.back = back
            await asyncio.gather(
                self._pump(carried, reader, back), self._pump(carried, there, writer)
            )
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            carried.abort()
            self._open.discard(carried)
            self._deaf.discard(carried)

    async def _pump(
        self, carried: _Carried, source: asyncio.StreamReader, goal: asyncio.StreamWriter
    ) -> None:
        try:
            while octets := await source.read(_PIECE):
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                await self._flows.wait()
                if carried not in self._deaf:
                    goal.write(octets)
                    await goal.drain()
        except OSError:
            if carried not in self._deaf:
                raise
        if carried in self._deaf:
            await asyncio.Event().wait()  # the other side learns of nothing
        goal.write_eof()


class _Carried:
    """A connection and where it leads."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.task = asyncio.current_task()
        """Held here: the loop itself does not, and a connection that waits for nothing would be
        collected."""
        self.back: asyncio.StreamWriter | None = None

    def abort(self) -> None:
        """Reset both sides."""
        for end in (self.writer, self.back):
            if end is not None:
                with suppress(Exception):
                    end.transport.abort()
