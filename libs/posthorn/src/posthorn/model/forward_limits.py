"""How much may be forwarded by aliases, and sent back to the senders of what was forwarded (ADR 20)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ForwardLimits:
    """How much may be forwarded and sent back in an hour, where nobody has a limit of their own. None: without limit."""

    alias_recipients: int | None = None
    """Recipients elsewhere that one alias makes."""
    returns_per_path: int | None = None
    """Reports that come back to one rewritten reverse-path."""
    returns_per_address: int | None = None
    """Reports that go to one address elsewhere."""
    returns_per_domain: int | None = None
    """Reports that come back by one domain of ours."""
    long_senders: int | None = None
    """Senders too long to be rewritten that are stored for one domain of ours (ADR 27)."""
