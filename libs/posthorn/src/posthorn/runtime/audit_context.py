"""The audit context: the current request, for the line that its change writes to the audit log.

A service enters it before a change begins; the change writes the line in its own transaction.
Outside a request, in a migration or a test of an adapter, there is none and nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Applying:
    """A change that an applied configuration makes."""

    tenant: UUID
    """Whose configuration it is."""
    manager: str | None
    """Marks what is created (``ports.managers``); None: it is not marked."""
    fields: tuple[str, ...] = ()
    """The fields that the configuration sets, sorted."""


@dataclass(slots=True)
class AuditContext:
    """A request that changes something."""

    actor_id: str
    actor_name: str
    actor_role: str
    action: str
    """``account.change``."""
    request_id: str
    is_written: bool = False
    """Whether a transaction has written its line."""
    applying: Applying | None = None
    """None: the change is not made by an applied configuration."""
    managed_by: str | None = None
    """The manager of the changed object, where somebody else changes what it manages."""


_acting: ContextVar[AuditContext | None] = ContextVar("posthorn_acting", default=None)


def audit_context() -> AuditContext | None:
    """Return the current request; None when there is none."""
    return _acting.get()


@contextmanager
def enter_audit_context(request: AuditContext) -> Iterator[AuditContext]:
    """Make this the current request inside the context."""
    token = _acting.set(request)
    try:
        yield request
    finally:
        _acting.reset(token)
