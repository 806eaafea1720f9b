"""What all connections of a process share."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field

from posthorn.model.ip_addresses import is_loopback
from posthorn.runtime.listen import ConnectionLimiter
from posthorn.runtime.timer_wheel import TimerWheel
from posthorn_imap.context import ImapContext
from posthorn_imap.draining import Spread

INPUT_BUFFER_BYTES = 64 * 1024
"""Bytes read at once, and waiting input beyond which reading stops."""


@dataclass(frozen=True, slots=True)
class ServerContext:
    """What all connections of a process share."""

    sessions: ImapContext
    limiter: ConnectionLimiter
    wheel: TimerWheel
    spread: Spread
    tls: ssl.SSLContext | None
    loopback_passwords: bool
    """Passwords are taken without TLS from this very host."""
    input: memoryview = field(default_factory=lambda: memoryview(bytearray(INPUT_BUFFER_BYTES)))
    """Where all connections read to."""

    def is_trusted(self, address: str) -> bool:
        """Whether a client with this address may send its password without TLS."""
        return self.loopback_passwords and is_loopback(address)
