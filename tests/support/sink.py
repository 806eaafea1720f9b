"""Another mail server: aiosmtpd in a thread, which keeps what it is given and refuses what it is
told to."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiosmtpd.controller import Controller

from posthorn_local.embedded import free_port


@dataclass(frozen=True, slots=True)
class Taken:
    """One message that the server answered with 250."""

    reverse_path: str
    recipients: tuple[str, ...]
    content: bytes


@dataclass(slots=True)
class Sink:
    """Listens on ``port`` from ``start`` to ``stop``; ``refusals`` maps a recipient's local part
    to a reply at RCPT."""

    refusals: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    taken: list[Taken] = field(default_factory=list)
    attempts: list[str] = field(default_factory=list)
    """Every recipient that was named, refused or not."""
    _controller: Controller | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Begin to listen."""
        self._controller = Controller(
            self, hostname="127.0.0.1", port=self.port, enable_SMTPUTF8=True
        )
        self._controller.start()

    def stop(self) -> None:
        """Listen no more; the port stays the same for another start."""
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    async def handle_RCPT(
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: list[str]
    ) -> str:
        """Take or refuse a recipient."""
        with self._lock:
            self.attempts.append(address)
        reply = self.refusals.get(address.partition("@")[0])
        if reply is None:
            envelope.rcpt_tos.append(address)
        return reply or "250 2.1.5 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        """Keep the message."""
        with self._lock:
            self.taken.append(
                Taken(
                    envelope.mail_from or "",
                    tuple(envelope.rcpt_tos),
                    bytes(envelope.original_content),
                )
            )
        return "250 2.0.0 kept"

    def taken_by(self, recipient: str) -> list[Taken]:
        """What was taken for a recipient."""
        with self._lock:
            return [one for one in self.taken if recipient in one.recipients]
