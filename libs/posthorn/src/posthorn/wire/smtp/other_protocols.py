"""Lines of other protocols on the SMTP port.

A browser can be made to send a POST to any port. Its body would be SMTP commands from inside a
network, so the session ends at the first line that reveals it, before later lines are executed.
"""

from __future__ import annotations

import re

_REQUEST = re.compile(
    rb"(?:GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH|PRI|PROPFIND|DESCRIBE|INVITE|REGISTER)[ \t]",
    re.IGNORECASE,
)
_BANNER = re.compile(rb"(?:SSH-\d|RTSP/|SIP/|HTTP/|JRMI|RFB |\*\d|<\?xml)", re.IGNORECASE)
_FIELD = re.compile(rb"[\x21-\x39\x3b-\x7e]+[ \t]*:")

_WHITE = frozenset(b"\t\r\n")


def is_other_protocol(line: bytes) -> bool:
    """Return whether the first line of a client, or its beginning, is a request of HTTP or its
    kin, a header field, or the greeting of another protocol such as SSH."""
    return (_REQUEST.match(line) or _FIELD.match(line) or _BANNER.match(line)) is not None


def is_binary(first: int) -> bool:
    """Return whether the first byte of a client begins a protocol that is not made of lines, such
    as a TLS handshake (0x16): no line end may ever come."""
    return first < 0x20 and first not in _WHITE
