"""The trace fields that a server prepends to a message (RFC 5321 §4.4)."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9.:_\[\]-]")
_NAME_LIMIT = 255


@dataclass(frozen=True, slots=True)
class Hop:
    """How a message was received."""

    helo: str
    """As given by the client."""
    client_address: str
    """IP address of the client."""
    hostname: str
    """The receiving host."""
    protocol: str
    """The ``with`` keyword: SMTP, ESMTP, ESMTPS, ESMTPSA, UTF8SMTP … (RFC 3848, RFC 6531 §4.3)."""
    tls: str = ""
    """Version and cipher, when there was TLS."""
    withheld: bool = False
    """Name and address of the client are withheld, to protect the user's privacy."""


def clean_name(helo: str) -> str:
    """Return the client's EHLO name with everything but letters, digits and ``.:_[]-`` replaced by
    question marks.

    So it cannot end the field, a comment or a clause.
    """
    return _NOT_IN_A_NAME.sub("?", helo[:_NAME_LIMIT])


@lru_cache(maxsize=8192)
def address_literal(address: str) -> str:
    """Return an IP address as RFC 5321 §4.1.3 writes it: ``[192.0.2.1]``,
    ``[IPv6:2001:db8::1]``."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv4Address):
        return f"[{parsed}]"
    return f"[{parsed.ipv4_mapped}]" if parsed.ipv4_mapped else f"[IPv6:{parsed}]"


def mail_date(at: float) -> str:
    """Return a time (seconds since the epoch) in UTC in the form of RFC 5322 §3.3."""
    return _date(int(at))


@lru_cache(maxsize=4)
def _date(second: int) -> str:
    moment = datetime.fromtimestamp(second, UTC)
    return f"{DAYS[moment.weekday()]}, {moment.day:02} {MONTHS[moment.month - 1]} {moment.year:04} {moment:%H:%M:%S} +0000"


def return_path(reverse_path: str) -> bytes:
    """Return the Return-Path line. ``reverse_path`` is canonical, or empty for the null
    reverse-path."""
    return f"Return-Path: <{reverse_path}>\r\n".encode()


def received(hop: Hop, message_id: str, recipient: str | None, at: float) -> bytes:
    """Return the Received field, folded by clause. ``recipient``: only if it is the only one, so
    that others are not disclosed."""
    # RFC 5321 §4.4 demands a domain after "from"; the parentheses may hold any comment
    client = f"{clean_name(hop.helo) or 'unknown'} ({address_literal(hop.client_address)})"
    if hop.withheld:
        client = "localhost (client address withheld)"
    tls = f"\r\n\t({hop.tls})" if hop.tls else ""
    whose = f"\r\n\tfor <{recipient}>" if recipient else ""
    return (
        f"Received: from {client}\r\n"
        f"\tby {hop.hostname} with {hop.protocol}{tls}\r\n"
        f"\tid {message_id}{whose};\r\n"
        f"\t{mail_date(at)}\r\n"
    ).encode()
