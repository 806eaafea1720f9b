"""Domain names that the public DNS will never hold (RFC 2606, RFC 6761)."""

from __future__ import annotations

_TOP_LEVEL = frozenset({"test", "example", "invalid", "localhost"})
_SECOND_LEVEL = frozenset({"example.com", "example.net", "example.org"})


def is_reserved(name: str) -> bool:
    """Return whether a domain is reserved for tests, examples or this machine, and so has no
    records to publish."""
    labels = name.lower().rstrip(".").split(".")
    return labels[-1] in _TOP_LEVEL or ".".join(labels[-2:]) in _SECOND_LEVEL
