"""What the machines of SMTP, POP3 and IMAP return in place of an event, and raise."""

from __future__ import annotations

from enum import Enum
from typing import Final


class Signal(Enum):
    """Values of ``next_event`` that are not events."""

    NEED_DATA = "need data"
    PAUSED = "paused"


NEED_DATA: Final = Signal.NEED_DATA
PAUSED: Final = Signal.PAUSED


class Misuse(Exception):
    """The caller passed an outcome that the state does not expect."""
