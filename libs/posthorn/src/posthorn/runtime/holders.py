"""The holder of slots (``fair_slots``): the tenant or client on whose behalf work is done.

A service sets it when it knows the caller: a tenant's id, or a key of an unknown client. It applies
to the task of the request and to those that it starts. Other work belongs to the process itself.
"""

from __future__ import annotations

from collections.abc import Hashable
from contextvars import ContextVar

_holder: ContextVar[Hashable] = ContextVar("posthorn_holder", default=None)


def work_for(holder: Hashable) -> None:
    """Set the holder of this task's work from here on."""
    _holder.set(holder)


def present_holder() -> Hashable:
    """Return the holder of this task's work; None: the process itself."""
    return _holder.get()
