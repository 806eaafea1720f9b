"""Services that checks talk to."""

from __future__ import annotations

from dataclasses import dataclass

from posthorn_cli.faults import usage

TIMEOUT = 10.0
"""Seconds for each step of a conversation."""

_PORTS = {25: "smtp", 587: "smtp", 2525: "smtp", 2587: "smtp"} | {
    110: "pop3",
    2110: "pop3",
    143: "imap",
    2143: "imap",
}
_SCHEMES = ("smtp", "pop3", "imap", "tls")


@dataclass(frozen=True, slots=True)
class Place:
    """A service to talk to."""

    host: str
    port: int
    scheme: str
    """``smtp``, ``pop3`` and ``imap`` begin in the clear and change to TLS; ``tls`` has it from
    the first byte."""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"


def place_of(text: str) -> Place:
    """Read ``host:port``, or ``smtp://host:port``, ``pop3://…``, ``imap://…``, ``tls://…``. Raises
    CommandError."""
    scheme, separator, rest = text.rpartition("://")
    host, _, number = rest.rpartition(":")
    port = int(number) if number.isascii() and number.isdigit() else 0
    if not host or not 0 < port < 65536 or (separator and scheme not in _SCHEMES):
        raise usage(
            f"{text!r} is no place: it looks like mail.example.org:465, or smtp://mail.example.org:2525"
        )
    return Place(host.strip("[]"), port, scheme if separator else _PORTS.get(port, "tls"))
