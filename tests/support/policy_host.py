"""A web server of the tests' own for MTA-STS policies: HTTPS on loopback."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self


@dataclass
class PolicyHost:
    """Answers every request with ``answer``, or with nothing while that is None."""

    context: ssl.SSLContext
    answer: bytes | None = None
    requests: list[bytes] = field(default_factory=list)
    port: int = 0

    def publish(
        self, policy: bytes, *, status: str = "200 OK", headers: str = "Content-Type: text/plain"
    ) -> None:
        """Answer with this from now on."""
        self.answer = (
            f"HTTP/1.1 {status}\r\n{headers}\r\nContent-Length: {len(policy)}\r\n\r\n".replace(
                "\r\n\r\n\r\n", "\r\n\r\n"
            )
        ).encode() + policy

    async def __aenter__(self) -> Self:
        self._writers: set[asyncio.StreamWriter] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            if self.answer is not None:
                writer.write(self.answer)
                await writer.drain()
            await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()
