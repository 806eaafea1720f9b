"""Lines that give another protocol away."""

from __future__ import annotations

import pytest

from posthorn.wire.smtp.other_protocols import is_other_protocol


@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/1.1",
        b"post /x HTTP/1.0",
        b"CONNECT a:25 HTTP/1.1",
        b"PRI * HTTP/2.0",
        b"OPTIONS sip:a SIP/2.0",
    ],
)
def test_requests(line: bytes) -> None:
    for end in (b"\r\n", b"\n", b""):
        assert is_other_protocol(line + end)


@pytest.mark.parametrize(
    "line",
    [b"SSH-2.0-OpenSSH_9.9", b"RFB 003.008", b"*1\r\n$4\r\nPING", b"<?xml version='1.0'?>"],
)
def test_greetings_of_others(line: bytes) -> None:
    assert is_other_protocol(line + b"\r\n")


@pytest.mark.parametrize(
    "line", [b"Host: a:25", b"X-Any-Name:value", b"Cookie : a", b"Content-Length: 1"]
)
def test_fields(line: bytes) -> None:
    assert is_other_protocol(line + b"\r\n")


@pytest.mark.parametrize(
    "line",
    [
        *(
            b"EHLO a:b",
            b"HELO x",
            b"MAIL FROM:<a@b>",
            b"RCPT TO:<a@b>",
            b"STARTTLS",
            b"QUIT",
            b"NOOP a: b",
            b"",
        ),
        *(b"AUTH PLAIN", b"POSTMASTER", b"GETX", b" Host: a"),
    ],
)
def test_commands_are_none(line: bytes) -> None:
    assert not is_other_protocol(line + b"\r\n")
