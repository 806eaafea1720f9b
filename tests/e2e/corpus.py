"""Awkward mail. Each sample has the octets as a client means them and what must lie in the
mailbox after the trace fields."""

from __future__ import annotations

import base64
import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """One message."""

    name: str
    octets: bytes
    """As sent, before dot-stuffing."""
    kept: bytes
    """As read, after the trace fields."""
    chunked: bool = False
    """Sent with BDAT (RFC 3030), which alone can send a message that does not end in CRLF."""


def _same(name: str, octets: bytes) -> Sample:
    return Sample(name, octets, octets)


def _bare(name: str, octets: bytes) -> Sample:
    """A message that does not begin with a header field: a blank line comes between it and the
    trace fields."""
    return Sample(name, octets, b"\r\n" + octets)


_HEAD = b"From: sender@example.org\r\nTo: someone@example.test\r\nSubject: awkward\r\n\r\n"


def _attachment() -> bytes:
    noise = random.Random(5).randbytes(15_300_000)
    return (
        b'From: sender@example.org\r\nSubject: big\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n'
        b"--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + base64.encodebytes(noise).replace(b"\n", b"\r\n")
        + b"--b--\r\n"
    )


def samples() -> list[Sample]:
    """The corpus, anew: the large ones are not kept in memory."""
    every_octet = bytes(octet for octet in range(256) if octet not in b"\r\n")
    open_end = _HEAD + b"the last line has no end"
    return [
        _same("plain", _HEAD + b"Hello\r\n"),
        _same(
            "8bit", _HEAD + "Grüße, žluťoučký kůň\r\n".encode() + b"latin: \xe4\xf6\xfc\xff\xfe\r\n"
        ),
        _same("every octet but CR and LF", _HEAD + every_octet + b"\r\n"),
        _same("lone dots", _HEAD + b".\r\n..\r\n...\r\n.\r\n.\r\n"),
        _same("lines that begin with a dot", _HEAD + b".a\r\n..b\r\n. c\r\n.\r\nd.\r\n..\r\n"),
        _bare("a dot line first", b".\r\nx: after a dot\r\n"),
        _same("a body of one dot", _HEAD + b".\r\n"),
        _same("blank lines at the end", _HEAD + b"text\r\n\r\n\r\n\r\n"),
        _same("998 octets in a line", _HEAD + b"x" * 998 + b"\r\n"),
        _same(
            "999 to 1003 octets in a line",
            _HEAD + b"".join(b"y" * n + b"\r\n" for n in range(999, 1004)),
        ),
        _same("100 KB in a line", _HEAD + b"z" * 100_000 + b"\r\nshort\r\n"),
        _same("100 KB of dots in a line", _HEAD + b"." * 100_000 + b"\r\n"),
        _same("a long header line", b"X-Long: " + b"h" * 20_000 + b"\r\n" + _HEAD + b"text\r\n"),
        _same("NULs", _HEAD + b"a\0b\0\0c\r\n\0\r\n\0\0\0\0\r\n"),
        _same("empty body", _HEAD),
        _same("a blank line first", b"\r\nSubject: in the body\r\n"),
        _same("nothing but a blank line", b"\r\n"),
        _bare("no header", b"Just a line of text.\r\nAnother one: with a colon\r\n"),
        _bare("no header, one long line", b"n" * 5_000 + b"\r\n"),
        Sample("header only", b"Subject: ends here\r\n", b"Subject: ends here\r\n\r\n"),
        Sample(
            "a header without its end", b"Subject: open", b"Subject: open\r\n\r\n", chunked=True
        ),
        Sample("nothing at all", b"", b"\r\n", chunked=True),
        _same("header and a blank line only", b"Subject: nothing more\r\n\r\n"),
        _same(
            "UTF-8 header",
            "From: Jiří <sender@example.org>\r\nSubject: Příliš žluťoučký 🐎\r\n\r\nahoj\r\n".encode(),
        ),
        _same("body over the inline limit", _HEAD + b"0123456789abcdef" * 4 * 600 * 16 + b"\r\n"),
        _same(
            "600 KiB in lines with dots",
            _HEAD
            + b"".join(
                b".%07d line of a longer body, sixty-four octets in all ....\r\n" % n
                for n in range(9_600)
            ),
        ),
        _same("20 MB attachment", _attachment()),
        _same("control characters", _HEAD + b"\x01\x02\x1b[31m\x7f\x08\t\x0b\x0c\x1a\x04\r\n"),
        Sample("no final CRLF", open_end, open_end + b"\r\n", chunked=True),
        Sample("a final dot without CRLF", _HEAD + b"a\r\n.", _HEAD + b"a\r\n.\r\n", chunked=True),
        Sample(
            "dot lines in BDAT",
            _HEAD + b".\r\n..\r\n.a\r\n",
            _HEAD + b".\r\n..\r\n.a\r\n",
            chunked=True,
        ),
    ]
