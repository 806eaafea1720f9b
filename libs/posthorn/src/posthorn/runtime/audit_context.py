"""Who is audit_context: the request at hand, for the line that its change leaves in the audit log.

The edge of a service enters it before a change begins; whatever makes the change writes the line in its own transaction. Outside a
request, in a migration or a test of an adapter, nobody is audit_context and nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


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


_acting: ContextVar[AuditContext | None] = ContextVar("posthorn_acting", default=None)


def audit_context() -> AuditContext | None:
    """Return the request at hand; None when there is none."""
    return _acting.get()


@contextmanager
def enter_audit_context(request: AuditContext) -> Iterator[AuditContext]:
    """Have this request at hand inside."""
    token = _acting.set(request)
    try:
        yield request
    finally:
        _acting.reset(token)
