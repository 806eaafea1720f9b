"""What the IMAP machine waits for."""

from __future__ import annotations

from enum import Enum


class Phase(Enum):
    """What the machine waits for."""

    COMMAND = "command"
    """Bytes of a command."""
    RESPONSE = "response"
    """A line with a SASL response."""
    CONTENT = "content"
    """Bytes of a message that was accepted."""
    BUSY = "busy"
    """``ready``."""
    VERIFYING = "verifying"
    """``challenge``, ``accepted`` or ``rejected``."""
    HANDSHAKE = "handshake"
    """``secured``."""
    DECIDING = "deciding"
    """``accept`` or ``refuse``."""
    CLOSED = "closed"


PAUSING = frozenset({Phase.BUSY, Phase.VERIFYING, Phase.HANDSHAKE, Phase.DECIDING, Phase.CLOSED})
