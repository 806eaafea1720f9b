"""Headers of answers that carry what strangers wrote: messages, their parts, and exports of
them."""

from __future__ import annotations

from types import MappingProxyType

UNTRUSTED_CONTENT_HEADERS = MappingProxyType(
    {
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Cache-Control": "no-store",
    }
)
"""A browser must not guess another type, must not run anything with the rights of this host (CSP
3 section 6.3.2), and must not keep a copy of somebody's mail."""
