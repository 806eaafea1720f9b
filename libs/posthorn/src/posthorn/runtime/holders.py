"""On whose behalf work is done: the holder of the slots that the work takes (``fair_slots``).

The edge of a service says it when it knows who asks: a tenant's id, or what stands for a client of which nothing is known. It holds
for the task of the request and for those that it begins. Work that nobody asked for is the process's own.
"""

from __future__ import annotations

from collections.abc import Hashable
from contextvars import ContextVar

_holder: ContextVar[Hashable] = ContextVar("posthorn_holder", default=None)


def work_for(holder: Hashable) -> None:
    """Do what this task does from here on for ``holder``."""
    _holder.set(holder)


def present_holder() -> Hashable:
    """Return for whom this task works; None: for the process itself."""
    return _holder.get()
