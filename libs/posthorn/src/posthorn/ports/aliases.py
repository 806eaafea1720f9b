"""Aliases: addresses that lead to others."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Alias:
    """An address that leads to others."""

    address: str
    targets: tuple[str, ...]
    created_at: datetime
    updated_at: datetime
    version: str = ""
    unconfirmed: tuple[str, ...] = ()
    """Targets elsewhere that get nothing before they confirm (``ports.forwards``)."""
    suppressed: tuple[str, ...] = ()
    """Targets on the tenant's suppression list, which get nothing."""
