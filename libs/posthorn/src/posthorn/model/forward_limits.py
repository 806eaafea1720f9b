"""Limits of forwarding by aliases, and of DSNs to the senders of forwarded messages (ADR 20)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ForwardLimits:
    """Default limits of forwards and returned DSNs per hour. None: no limit."""

    alias_recipients: int | None = None
    """Recipients elsewhere of one alias."""
    returns_per_path: int | None = None
    """DSNs to one rewritten reverse-path."""
    returns_per_address: int | None = None
    """DSNs sent back to one address elsewhere."""
    returns_per_domain: int | None = None
    """DSNs to the rewritten reverse-paths of one local domain."""
    long_senders: int | None = None
    """New long senders stored for one local domain (ADR 27)."""
