"""Messages for the tests of the built-in scorer."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Mapping

from posthorn.wire.spam.facts import read_facts
from posthorn.wire.spam.rule import Case

GOOD_FIELDS = {
    "From": "Ann Example <ann@example.net>",
    "To": "bob@ours.test",
    "Subject": "Minutes of the meeting",
    "Date": "Tue, 01 Jul 2025 10:00:00 +0000",
    "Message-ID": "<1@example.net>",
}
GOOD_TEXT = "Dear Bob,\r\n\r\nhere are the minutes: https://www.example.net/minutes\r\n\r\nAnn\r\n"
ARRIVED = 1751364060.0  # a minute after that Date


def message(
    body: str = GOOD_TEXT,
    fields: Mapping[str, str | None] | None = None,
    *,
    html: bool = False,
) -> bytes:
    """Return a message with fields changed, or taken away with None."""
    held = {**GOOD_FIELDS, **({"Content-Type": "text/html; charset=utf-8"} if html else {})}
    held |= fields or {}  # type: ignore[arg-type]
    head = "".join(f"{name}: {value}\r\n" for name, value in held.items() if value is not None)
    return f"{head}\r\n{body}".encode()


def with_file(name: str, content: bytes, type_: str = "application/octet-stream") -> bytes:
    """Return a message with a text and an attachment."""
    body = (
        f"--x\r\n\r\n{GOOD_TEXT}\r\n--x\r\nContent-Type: {type_}; name={name}\r\n"
        "Content-Transfer-Encoding: base64\r\n\r\n"
        + base64.encodebytes(content).decode().replace("\n", "\r\n")
        + "--x--\r\n"
    )
    return message(body, {"Content-Type": "multipart/mixed; boundary=x"})


def zipped(*names: str, encrypted: bool = False) -> bytes:
    """Return a zip archive with files of these names."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"content")
    content = bytearray(file.getvalue())
    if encrypted:
        content[6] |= 1
    return bytes(content)


def case(content: bytes, **known: object) -> Case:
    """Return a case of a message that arrived when GOOD_FIELDS say."""
    given = {"received_at": ARRIVED, "own_domains": frozenset({"ours.test"}), **known}
    return Case(read_facts(content), **given)  # type: ignore[arg-type]
