"""Previews (RFC 8970)."""

from __future__ import annotations

import pytest

from posthorn.wire.message.mime_offsets import scan_offsets
from posthorn.wire.message.preview import PREVIEW_CHARACTERS, preview_part, preview_text
from tests.support.malformed import MALFORMED


def preview(message: bytes) -> str:
    """Return the preview of a message."""
    part = preview_part(scan_offsets(message))
    return "" if part is None else preview_text(part, message[part.body : part.end])


def test_plain_text_comes_first_and_attachments_never() -> None:
    parts = (
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n"
        b"--x\r\nContent-Type: text/plain\r\nContent-Disposition: attachment\r\n\r\nno\r\n"
        b"--x\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\nnor this\r\n"
        b"--x\r\nContent-Type: text/html\r\n\r\n<title>x</title><p>One &lt;two&gt;</p>\r\n%s--x--\r\n"
    )
    assert preview(parts % b"") == "One <two>"
    assert preview(parts % b"--x\r\nContent-Transfer-Encoding: base64\r\n\r\nWWVz\r\n") == "Yes"
    assert preview(b"Content-Type: image/png\r\n\r\nx") == ""


def test_white_space_and_controls_are_one_blank() -> None:
    header = b"Content-Type: text/plain; charset=iso-8859-1\r\n\r\n"
    assert preview(header + b" \r\n\tcaf\xe9\x07 \0 au\r\nlait ") == "café au lait"
    assert len(preview(header + b"word " * 1000)) <= PREVIEW_CHARACTERS


@pytest.mark.parametrize("name", MALFORMED)
def test_nothing_fails(name: str) -> None:
    words = preview(MALFORMED[name])
    assert len(words) <= PREVIEW_CHARACTERS
    assert words.isprintable()
