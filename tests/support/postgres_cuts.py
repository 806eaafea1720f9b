"""A proxy before Postgres that cuts a connection before a given protocol message passes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

CLIENT, SERVER = "client", "server"
_HEAD = 5  # type and length of a message


class PostgresCutter:
    """Counts messages by who sent them since ``arm``, and cuts before the one that was named: the
    other side never gets it, and all that was sent before has arrived."""

    def __init__(self) -> None:
        self.port = 0
        self.has_cut = False
        """Whether it has cut a connection since ``arm``."""
        self._side = ""
        self._left = 0

    def arm(self, side: str, number: int) -> None:
        """Cut before message ``number``, from 0 on, that ``side`` sends from now on."""
        self._side, self._left, self.has_cut = side, number, False

    def disarm(self) -> None:
        """Let everything pass."""
        self._side = ""

    @asynccontextmanager
    async def before(self, target: int) -> AsyncIterator[PostgresCutter]:
        """Listen while the context lasts."""
        tasks: set[asyncio.Task[None]] = set()

        async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there, back = await asyncio.open_connection("127.0.0.1", target)
            pumps = [
                asyncio.create_task(self._pump(CLIENT, reader, back, starts=True)),
                asyncio.create_task(self._pump(SERVER, there, writer)),
            ]
            tasks.update(pumps)
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for end in (writer, back):
                end.transport.abort()

        server = await asyncio.start_server(carry, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _pump(
        self,
        side: str,
        source: asyncio.StreamReader,
        goal: asyncio.StreamWriter,
        *,
        starts: bool = False,
    ) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            if starts:  # the first message has no type; the URL must say sslmode=disable
                length = await source.readexactly(4)
                goal.write(length + await source.readexactly(int.from_bytes(length) - 4))
            while True:
                head = await source.readexactly(_HEAD)
                message = head + await source.readexactly(int.from_bytes(head[1:]) - 4)
                if side == self._side:
                    if self._left == 0:
                        self.disarm()
                        self.has_cut = True
                        return
                    self._left -= 1
                goal.write(message)
                await goal.drain()
