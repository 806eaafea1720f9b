"""The field TLS-Required (RFC 8689 §3): its author wants the message sent even where TLS fails."""

from __future__ import annotations

import re

from posthorn.wire.message.header import header_end

_FIELD = re.compile(rb"^TLS-Required[ \t]*:[ \t\r\n]*No[ \t]*\r\n(?![ \t])", re.I | re.M)


def is_tls_optional(message: bytes) -> bool:
    """Return whether the header says ``TLS-Required: No``: policies that the recipient's domain
    publishes are not to be enforced. Any other value means nothing (RFC 8689 §3)."""
    return _FIELD.search(message, 0, max(header_end(message), 0)) is not None
