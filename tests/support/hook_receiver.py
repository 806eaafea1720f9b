"""A receiver of webhooks on 127.0.0.1: keeps what it is sent, and answers as it is told."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Received:
    """A request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.body)
        return document

    def is_signed_with(self, secret: str) -> bool:
        """Check the signature as a receiver would."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = (
            f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode()
            + self.body
        )
        wanted = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        return any(
            hmac.compare_digest(wanted, each)
            for each in self.headers["webhook-signature"].split(" ")
        )


class HookReceiver:
    """An HTTP server of a few lines; an async context manager. ``answer`` gives the octets of
    the whole answer; empty: none comes."""

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self.received: list[Received] = []
        self.answer: Callable[[Received], bytes] = lambda _: reply(200)
        self.most_at_once = 0
        self.hold = asyncio.Event()
        self.hold.set()
        self._tls = tls
        self._now = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.hold.set()
        self._server.close()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/hook"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            request, *lines = head.rstrip("\r\n").split("\r\n")
            headers = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in lines)
            }
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            received = Received(request.split(" ")[1], headers, body)
            self.received.append(received)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            try:
                await self.hold.wait()
                answer = self.answer(received)
                if not answer:
                    await reader.read()  # until the other side gives up
                writer.write(answer)
                await writer.drain()
            finally:
                self._now -= 1
        with suppress(OSError):
            writer.close()


def reply(status: int, body: bytes = b"", *fields: str) -> bytes:
    """An answer that closes the connection."""
    lines = [
        f"HTTP/1.1 {status} Said",
        "Connection: close",
        f"Content-Length: {len(body)}",
        *fields,
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + body
