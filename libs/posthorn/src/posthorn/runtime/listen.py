"""Listeners for session protocols (SMTP, POP3): connection limits, and a drain that no idle client can hang.

Python's ``Server.wait_closed`` waits for every open connection, so it is never called before the sessions have ended: the
listener closes, sessions are asked to end after what they are doing, and after the grace period they are cut.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Protocol

import structlog

log = structlog.get_logger()

HANDSHAKE_SECONDS = 10.0


class Session(Protocol):
    """One connection, as the listener sees it."""

    def begin_drain(self) -> None:
        """End soon: finish the transaction under way, refuse the next one (421), close. Must not block."""
        ...

    def abort(self) -> None:
        """End now. Must not block."""
        ...


class Gate:
    """Who may hold how many sessions: a total and a number per client address, counted in this process."""

    def __init__(self, total: int, per_address: int) -> None:
        self.total = total
        self.per_address = per_address
        self.draining = False
        self._by_address: Counter[str] = Counter()
        self._sessions: dict[Session, str] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._sessions)

    def admit(self, session: Session, address: str) -> str | None:
        """Enter a session. Gives None, or the reason to refuse it: ``total``, ``address`` or ``draining``."""
        if self.draining:
            return "draining"
        if len(self._sessions) >= self.total:
            return "total"
        if self._by_address[address] >= self.per_address:
            return "address"
        self._sessions[session] = address
        self._by_address[address] += 1
        self._empty.clear()
        return None

    def leave(self, session: Session) -> None:
        """Strike a session off; one that was never admitted is no error."""
        address = self._sessions.pop(session, None)
        if address is None:
            return
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]
        if not self._sessions:
            self._empty.set()

    async def drain(self, grace: float) -> None:
        """Ask every session to end, wait up to ``grace`` seconds, then cut those that are left."""
        self.draining = True
        for session in list(self._sessions):
            try:
                session.begin_drain()
            except Exception:
                log.exception("a session cannot be drained and is cut", address=self._sessions.get(session))
                session.abort()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._empty.wait()
                return
        log.warning("sessions cut at the end of the grace period", sessions=len(self._sessions))
        for session in list(self._sessions):
            session.abort()
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                await self._empty.wait()


@asynccontextmanager
async def listening(
    factory: Callable[[], asyncio.BaseProtocol],
    listener: socket.socket,
    gate: Gate,
    *,
    grace: float,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[int]:
    """Accept connections on a bound socket; gives the port. On leaving, stops listening and drains the gate.

    With ``tls`` a session, and so its place at the gate, begins after the handshake, which has ``HANDSHAKE_SECONDS``.
    """
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        factory, sock=listener, backlog=1024, ssl=tls, ssl_handshake_timeout=HANDSHAKE_SECONDS if tls else None
    )
    try:
        yield int(listener.getsockname()[1])
    finally:
        server.close()
        await gate.drain(grace)
