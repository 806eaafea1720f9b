"""The header of a stored message as it is kept beside the body."""

from __future__ import annotations

import pytest

from posthorn.model.stored_header import LONGEST_HEADER_BYTES, kept_header, stored_header


@pytest.mark.parametrize(
    ("content", "header"),
    [
        (b"A: b\r\n\r\nbody\r\n\r\n", b"A: b\r\n\r\n"),
        (b"\r\nbody\r\n\r\n", b"\r\n"),
        (b"A: b\r\n", b"A: b\r\n"),
        (b"", b""),
        (b"A: b\r\n\r\n", b"A: b\r\n\r\n"),
    ],
)
def test_it_ends_with_the_empty_line(content: bytes, header: bytes) -> None:
    assert stored_header(content) == header
    assert kept_header(content, bytes.swapcase) == header.swapcase()


def test_a_long_one_is_not_kept() -> None:
    most = b"A: ".ljust(LONGEST_HEADER_BYTES - 4, b"x") + b"\r\n\r\n"
    assert stored_header(most + b"body") == most
    assert kept_header(b"x" + most + b"body", bytes) is None
    assert stored_header(b"x" * (LONGEST_HEADER_BYTES + 1)) is None
