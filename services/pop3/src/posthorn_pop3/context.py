"""What all connections of the process share."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from posthorn.model.ip_addresses import is_loopback
from posthorn.runtime.listen import ConnectionLimiter
from posthorn_pop3.service import MaildropService
from posthorn_pop3.session import SessionLimits


@dataclass(frozen=True, slots=True)
class Times:
    """Limits in seconds, from the settings."""

    login: float = 60.0
    idle: float = 600.0
    write: float = 120.0
    life: float = 14_400.0


@dataclass(frozen=True, slots=True)
class ServerContext:
    """What all connections of a process share."""

    service: MaildropService
    limiter: ConnectionLimiter
    times: Times
    session_limits: SessionLimits
    tls: ssl.SSLContext | None
    loopback_passwords: bool
    """Passwords are taken without TLS from this very host."""

    def is_trusted(self, address: str) -> bool:
        """Whether a client with this address may send its password without TLS."""
        return self.loopback_passwords and is_loopback(address)
