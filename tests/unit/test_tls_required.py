"""The field TLS-Required (RFC 8689 §3)."""

from __future__ import annotations

import pytest

from posthorn.wire.message.tls_required import is_tls_optional

FROM = b"From: a@a.test\r\n"


@pytest.mark.parametrize(
    "field",
    [b"TLS-Required: No\r\n", b"tls-required:no \r\n", b"TLS-Required:\r\n No\r\n"],
)
@pytest.mark.parametrize("before", [b"", FROM])
def test_no_is_understood_however_it_is_written(field: bytes, before: bytes) -> None:
    assert is_tls_optional(before + field + FROM + b"\r\nbody")


@pytest.mark.parametrize(
    "message",
    [
        FROM + b"\r\nTLS-Required: No\r\n",
        b"\r\nTLS-Required: No\r\n\r\n",
        b"TLS-Required: Yes\r\n\r\n",
        b"TLS-Required: None\r\n\r\n",
        b"TLS-Required: No\r\n way\r\n\r\n",
        b"X-TLS-Required: No\r\n\r\n",
        b"Subject: a\r\n TLS-Required: No\r\n\r\n",
        b"TLS-Required: No\r\n",
        b"",
    ],
)
def test_nothing_else_means_anything(message: bytes) -> None:
    assert not is_tls_optional(message)
