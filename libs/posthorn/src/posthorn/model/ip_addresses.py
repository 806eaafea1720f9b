"""IP addresses: which ones are public, which ones are this machine, and which ones may be connected
to.

Rules:

- IPv6 forms of IPv4 addresses (RFC 4291 §2.5.5, RFC 3056, RFC 4380, RFC 6052) are judged as the
  IPv4 address within.
- What IANA's special-purpose registries do not call globally reachable is not public, and neither
  are multicast, reserved and site-local addresses (RFC 3879), nor the anycast address of 6to4
  relays (RFC 7526).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

type Ip = ipaddress.IPv4Address | ipaddress.IPv6Address
type Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052 §2.1
_COMPATIBLE = ipaddress.IPv6Network("::/96")  # RFC 4291 §2.5.5.1
_RELAYS = ipaddress.IPv4Network("192.88.99.0/24")  # RFC 7526


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(map(ipaddress.ip_network, texts))


DOCUMENTATION_NETWORKS = _networks(
    "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20"
)
"""Networks that no host has an address of (RFC 5737, RFC 3849, RFC 9637)."""
LOOPBACK_NETWORKS = _networks("127.0.0.0/8", "::1/128")
UNROUTABLE_NETWORKS = _networks(
    "0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4", "::/128", "fe80::/10", "ff00::/8"
)
"""This network, link-local, multicast and reserved: they lead to this machine, to a cloud's
metadata, or nowhere."""


def plain_ip(text: str) -> Ip:
    """Return an address, IPv6 forms of IPv4 addresses as the IPv4 address within. Raises
    ValueError."""
    ip = ipaddress.ip_address(text)
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in _NAT64 or (ip in _COMPATIBLE and int(ip) > 1):
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    if ip.teredo is not None:
        return ip.teredo[1]
    return ip.ipv4_mapped or ip.sixtofour or ip


def is_public(ip: Ip) -> bool:
    """Return whether a host on the public Internet can have the address; ``ip`` as ``plain_ip``
    returns it."""
    # once private, now called global
    is_site_local = isinstance(ip, ipaddress.IPv6Address) and ip.is_site_local
    return ip.is_global and not (
        ip.is_multicast or ip.is_reserved or is_site_local or ip in _RELAYS
    )


def is_loopback(address: str) -> bool:
    """Return whether a text is a loopback address of this machine. A name is not."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback


def is_this_machine(host: str) -> bool:
    """Return whether the host of a URL or setting is ``localhost`` or a loopback address, in
    brackets or not."""
    return host == "localhost" or is_loopback(host.removeprefix("[").removesuffix("]"))


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Which addresses may be connected to where a stranger names the host: public ones, and
    exceptions."""

    allowed: tuple[Network, ...] = ()
    """Networks that are allowed although their addresses are not public."""
    refused: tuple[Network, ...] = ()
    """Networks of which no address is allowed, even if ``allowed`` names it."""

    def allows(self, address: str) -> bool:
        """Return whether the address may be connected to. Raises ValueError for what is no IP
        address."""
        ip = plain_ip(address)
        if any(ip in network for network in self.refused):
            return False
        return is_public(ip) or any(ip in network for network in self.allowed)


PUBLIC_ADDRESSES = AddressPolicy()
"""Public addresses and no others."""


def is_address(text: str) -> bool:
    """Return whether a text is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
