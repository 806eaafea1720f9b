"""The PROXY protocol's header, versions 1 and 2: the client of a connection made by a balancer.

After the HAProxy project's "The PROXY protocol, Versions 1 & 2" (proxy-protocol.txt); its sections
are cited.

Rules:

- The header comes first on a connection. A byte that cannot belong to one is refused at once, not
  after a timeout.
- Parsing is strict: one space, no leading zeros, CRLF, addresses of the named family; stream
  sockets only.
- ``UNKNOWN`` (v1), ``LOCAL`` and ``AF_UNSPEC`` (v2) name no client: the connection is the
  balancer's own, such as a health check (§2.1, §2.2).
- TLVs, and what follows UNKNOWN in its line, are skipped. The checksum is not verified: TCP has
  one.
- A reader that reads at most ``wanted`` bytes at a time never reads beyond the header.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
"""Signature of version 2 (§2.2)."""
LONGEST_V1 = 107
"""Most bytes of a version 1 line with its end (§2.1)."""
LONGEST_V2 = 2048
"""Most bytes of a version 2 header with addresses and TLVs: our own limit. A balancer's TLVs
take some hundred."""

_V1 = b"PROXY "
_SHORTEST = len(b"PROXY UNKNOWN\r\n")
_FIXED = 16  # bytes of a version 2 header before the addresses
# TCP over IPv4 and IPv6; not datagrams, AF_UNIX, nor what is not defined
_ADDRESS_OCTETS = {0x11: 4, 0x21: 16}
_LINE = re.compile(
    rb"PROXY (TCP[46]) ([0-9A-Fa-f:.]{2,39}) ([0-9A-Fa-f:.]{2,39}) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})\r\n"
)
_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?\r\n")

type Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


class ProxyError(Exception):
    """The input is not a valid header. ``reason`` is one of REASONS."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


REASONS = ("missing", "oversize", "malformed", "version", "family", "address")
"""Why a header is refused: there is none; it is too long; its line or lengths are wrong; an
unknown version or command; neither TCP over IPv4 nor over IPv6; an impossible client address, or
one of the other family."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """A parsed header."""

    version: int
    source: Ip | None
    """The client; None when the connection is the balancer's own. An IPv4-mapped IPv6 address is
    returned as IPv4."""
    port: int = 0
    """The client's port; 0 without a client."""


class ProxyParser:
    """Parses one header from pieces."""

    def __init__(self) -> None:
        self._seen = bytearray()
        self._header: ProxyHeader | None = None
        self._rest = b""

    @property
    def wanted(self) -> int:
        """Bytes that the header still needs at least; 0 after it."""
        if self._header is not None:
            return 0
        seen = len(self._seen)
        if seen < _SHORTEST:
            return _SHORTEST - seen
        if self._seen[0] == SIGNATURE[0]:
            return _FIXED - seen if seen < _FIXED else self._total() - seen
        fields = (
            5 - self._seen.count(b" ") if self._seen[6] == ord("T") else 0
        )  # each takes at least a space and a byte
        return 2 * max(0, fields) + (1 if self._seen[-1] == 0x0D else 2)

    @property
    def rest(self) -> bytes:
        """Bytes after the header."""
        return self._rest

    @property
    def began(self) -> bool:
        """Whether any byte has been received."""
        return bool(self._seen)

    def feed(self, data: bytes) -> ProxyHeader | None:
        """Add bytes; return the header once it is complete, and again for later calls. Raises
        ProxyError."""
        if self._header is not None:
            self._rest += data
            return self._header
        self._seen += data
        if not self._seen:
            return None
        end = self._end_v2() if self._seen[0] == SIGNATURE[0] else self._end_v1()
        if end is None:
            return None
        header = bytes(self._seen[:end])
        self._rest = bytes(self._seen[end:])
        self._header = _read_v2(header) if header[0] == SIGNATURE[0] else _read_v1(header)
        return self._header

    def _end_v1(self) -> int | None:
        if self._seen[: len(_V1)] != _V1[: len(self._seen)]:
            raise ProxyError("missing")
        end = self._seen.find(b"\n", 0, LONGEST_V1)
        if end >= 0:
            return end + 1
        if len(self._seen) >= LONGEST_V1:
            raise ProxyError("oversize")
        return None

    def _end_v2(self) -> int | None:
        seen = len(self._seen)
        if self._seen[: len(SIGNATURE)] != SIGNATURE[:seen]:
            raise ProxyError("missing")
        if seen > 12 and (self._seen[12] >> 4 != 2 or self._seen[12] & 0x0F > 1):
            raise ProxyError("version")
        if seen < _FIXED:
            return None
        total = self._total()
        if total > LONGEST_V2:
            raise ProxyError("oversize")
        return total if seen >= total else None

    def _total(self) -> int:
        return _FIXED + int.from_bytes(self._seen[14:16])


def _read_v1(line: bytes) -> ProxyHeader:
    """§2.1."""
    if _UNKNOWN.fullmatch(line):
        return ProxyHeader(1, None)
    found = _LINE.fullmatch(line)
    if found is None:
        if line.endswith(b"\r\n") and not re.match(rb"PROXY (?:TCP[46]|UNKNOWN)(?: |\r)", line):
            raise ProxyError("family")
        raise ProxyError("malformed")
    family, source, destination, *ports = found.groups()
    if any(int(port) > 65535 for port in ports):
        raise ProxyError("malformed")
    make = ipaddress.IPv4Address if family == b"TCP4" else ipaddress.IPv6Address
    try:
        client, _ = make(source.decode()), make(destination.decode())
    except ValueError:
        raise ProxyError("address") from None
    return ProxyHeader(1, _client(client), int(ports[0]))


def _read_v2(header: bytes) -> ProxyHeader:
    """§2.2."""
    if not header[12] & 0x0F:  # LOCAL: the family must be ignored
        return ProxyHeader(2, None)
    if header[13] == 0x00:  # AF_UNSPEC: the client is not known
        return ProxyHeader(2, None)
    size = _ADDRESS_OCTETS.get(header[13])
    if size is None:
        raise ProxyError("family")
    ports = _FIXED + 2 * size
    if len(header) < ports + 4:
        raise ProxyError("malformed")
    source = ipaddress.ip_address(header[_FIXED : _FIXED + size])
    return ProxyHeader(2, _client(source), int.from_bytes(header[ports : ports + 2]))


def _client(address: Ip) -> Ip:
    plain = plain_address(address)
    if (
        plain.is_unspecified
        or plain.is_multicast
        or plain == ipaddress.IPv4Address("255.255.255.255")
    ):
        raise ProxyError("address")  # no TCP connection has this source
    return plain


def plain_address(address: Ip) -> Ip:
    """Return an address in canonical form: IPv4 where it is mapped into IPv6 (RFC 4291
    §2.5.5.2), without a zone."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    return address.ipv4_mapped or (
        ipaddress.IPv6Address(int(address)) if address.scope_id else address
    )
