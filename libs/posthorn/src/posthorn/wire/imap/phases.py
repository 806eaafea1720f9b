"""What the IMAP machine waits for, and its signals."""

from __future__ import annotations

from enum import Enum
from typing import Final


class Signal(Enum):
    """Values of ``next_event`` that are not events."""

    NEED_DATA = "need data"
    PAUSED = "paused"


NEED_DATA: Final = Signal.NEED_DATA
PAUSED: Final = Signal.PAUSED


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


class Misuse(Exception):
    """The caller passed an outcome that the machine does not wait for."""
