"""What all connections of the process share."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field

from posthorn.model.ip_addresses import is_loopback
from posthorn.ports.bodies import BodyReader
from posthorn.ports.folders import Folders
from posthorn.ports.mailbox_hints import MailboxHints
from posthorn.ports.mailbox_view import MailboxView
from posthorn.ports.placing import Placing


@dataclass(frozen=True, slots=True)
class Backend:
    """The stores, by their ports."""

    folders: Folders
    view: MailboxView
    placing: Placing
    bodies: BodyReader
    hints: MailboxHints


@dataclass(frozen=True, slots=True)
class Limits:
    """What connections are allowed, from the settings; times in seconds."""

    login: float = 60.0
    idle: float = 1860.0
    keepalive: float = 120.0
    write: float = 120.0
    login_attempts: int = 3
    failure_delay: float = 1.0
    append_bytes: int = 50 * 1024 * 1024
    hidden: frozenset[str] = field(default_factory=frozenset)
    """Capabilities that are shown to nobody, in upper case."""


@dataclass(frozen=True, slots=True)
class ImapContext:
    """What all connections of a process share."""

    backend: Backend
    limits: Limits
    tls: ssl.SSLContext | None
    loopback_passwords: bool
    """Passwords are taken without TLS from this very host."""

    def is_trusted(self, address: str) -> bool:
        """Whether a client with this address may send its password without TLS."""
        return self.loopback_passwords and is_loopback(address)
