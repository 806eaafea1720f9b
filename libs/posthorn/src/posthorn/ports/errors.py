"""Errors of ports. Those of a backend are transient: they become a 4xx, a ``-ERR [SYS/TEMP]`` or an
HTTP 503.

An adapter translates every fault of its backend into one of these. The text is for the log; no
reply to a client repeats it.
"""

from __future__ import annotations

from dataclasses import dataclass


class Unavailable(Exception):
    """A required part does not answer, or gives an invalid answer. A later retry may succeed."""

    def __init__(self, part: str, detail: str = "") -> None:
        super().__init__(f"{part}: {detail}" if detail else part)
        self.part = part
        """Which part: ``nats``, ``postgres``, ``blobs``, ``directory``. Short, for metrics and
        logs."""
        self.detail = detail
        """What is wrong with it, for the log; empty where nothing more is known."""
        self.nothing_changed = False
        """Whether it is certain that the last operation on the store changed nothing. Otherwise its
        outcome is not known."""


class Full(Unavailable):
    """A store has no room: the ingest stream at its byte limit, a full disk. It may answer all else,
    its probe too. New messages are refused transiently, none is dropped."""


class Halted(Unavailable):
    """Nothing may be served or deleted until an operator has decided. ``detail`` may be shown:
    it contains no secret."""


class NotFound(Exception):
    """There is no such object, or the caller may not see it."""


class Conflict(Exception):
    """The state of other objects prevents the change; the text, for the caller, names them."""


class PreconditionFailed(Exception):
    """The object is in none of the versions that the caller accepts."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """An error in one field of a request."""

    field: str
    """As the caller wrote it: ``address``, ``targets[1]``."""
    message: str


class ValidationFailed(Exception):
    """The values are not valid."""

    def __init__(self, *faults: FieldError) -> None:
        super().__init__("; ".join(f"{fault.field}: {fault.message}" for fault in faults))
        self.faults = faults
