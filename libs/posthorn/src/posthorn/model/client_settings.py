"""The servers that a mail client is set up with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from posthorn.model.dns_records import Presence

type Protocol = Literal["imap", "pop3", "smtp"]


@dataclass(frozen=True, slots=True)
class ClientServer:
    """A server that mail is read from or sent by. The login is the address in full."""

    protocol: Protocol
    host: str
    port: int
    implicit_tls: bool
    """TLS from the first byte; otherwise STARTTLS or STLS, which is required."""


def client_servers(presence: Presence) -> tuple[ClientServer, ...]:
    """Return what is offered: reading before sending, IMAP before POP3, TLS from the first byte
    before STARTTLS (RFC 8314 §3)."""
    offers: tuple[tuple[Protocol, bool], ...] = (
        ("imap", True),
        ("imap", False),
        ("pop3", True),
        ("pop3", False),
        ("smtp", True),
        ("smtp", False),
    )
    places = (
        presence.imaps,
        presence.imap,
        presence.pop3s,
        presence.pop3,
        presence.submissions,
        presence.submission,
    )
    return tuple(
        ClientServer(protocol, place.host, place.port, implicit_tls)
        for (protocol, implicit_tls), place in zip(offers, places, strict=True)
        if place.port
    )
