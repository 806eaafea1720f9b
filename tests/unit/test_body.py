"""The facts of a message, counted over its bytes."""

from __future__ import annotations

import hashlib

import pytest

from posthorn.model.envelope import Body


@pytest.mark.parametrize(
    ("message", "has_dot_lines"),
    [
        (b"", False),
        (b"Subject: a\r\n\r\nb.\r\n", False),
        (b"Subject: a\r\n\r\n.b\r\n", True),
        (b".Subject: a\r\n\r\nb\r\n", True),
        (b"Subject: a\r\n\r\n\r.\n.\n", False),
    ],
)
def test_size_digest_and_lines_that_begin_with_a_dot(message: bytes, has_dot_lines: bool) -> None:
    assert Body.from_message(message, 7) == Body(
        len(message), hashlib.sha256(message).digest(), has_dot_lines, 7
    )
    assert Body.from_message(message).return_path_octets == 0
