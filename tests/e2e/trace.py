"""The trace fields that the server puts before a message (RFC 5321 §4.4)."""

from __future__ import annotations

import re

_TRACE = re.compile(
    rb"Return-Path: <([^\r\n]*)>\r\n"
    rb"(?:(?:Authentication-Results|X-Posthorn-Verdict):[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)*"
    rb"(Received: [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)"
)


def split_trace(stored: bytes) -> tuple[str, str, bytes]:
    """Return the reverse-path, the Received field and the message as it was sent. Between the first
    two may be what the scanning tier found."""
    found = _TRACE.match(stored)
    assert found, stored[:400]
    return found[1].decode(), found[2].decode(), stored[found.end() :]
