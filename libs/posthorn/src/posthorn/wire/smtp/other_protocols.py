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
_FIELD = re.compile(rb"[\x21-\x39\x3b-\x7e]+[ \t]*:")


def is_other_protocol(line: bytes) -> bool:
    """Return whether the first line of a client, or its beginning, is a request of HTTP or its
    kin, or a header field."""
    return _REQUEST.match(line) is not None or _FIELD.match(line) is not None
