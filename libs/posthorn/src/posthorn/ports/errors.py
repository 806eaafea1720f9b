"""What may go wrong behind a port. Everything here is transient: it becomes a 4xx, a ``-ERR [SYS/TEMP]`` or an HTTP 503.

An adapter translates every fault of its backend into one of these. The text is for the log; no reply to a client repeats it.
"""

from __future__ import annotations

from dataclasses import dataclass


class Unavailable(Exception):
    """A part that is needed does not answer, or not rightly. Trying again later may help."""

    def __init__(self, part: str, detail: str = "") -> None:
        super().__init__(f"{part}: {detail}" if detail else part)
        self.part = part
        """Which part: ``nats``, ``postgres``, ``blobs``, ``directory``. Short, for metrics and logs."""


class Full(Unavailable):
    """The ingest stream has reached its byte limit: overload is pushed back, nothing is dropped."""


class Halted(Unavailable):
    """Nothing may be served or deleted before an operator has decided. ``detail`` may be shown: it holds no secret."""

    def __init__(self, part: str, detail: str) -> None:
        super().__init__(part, detail)
        self.detail = detail


class NotFound(Exception):
    """There is no such object, or none that the caller may see."""


class Conflict(Exception):
    """The state of other objects forbids it; the text, for the caller, names them."""


class PreconditionFailed(Exception):
    """The object is not in any of the versions that the caller means to change."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field of a request."""

    field: str
    """As the caller wrote it: ``address``, ``targets[1]``."""
    message: str


class ValidationFailed(Exception):
    """The values cannot be taken."""

    def __init__(self, *faults: FieldError) -> None:
        super().__init__("; ".join(f"{fault.field}: {fault.message}" for fault in faults))
        self.faults = faults
