"""Which IP addresses a host on the public Internet can have, for whoever connects to a place that strangers name.

Rules:

- IPv6 forms of IPv4 addresses (RFC 4291 §2.5.5, RFC 3056, RFC 4380, RFC 6052) are judged as the IPv4 address within.
- What IANA's special-purpose registries do not call globally reachable is not public, and neither are multicast, reserved and
  site-local addresses (RFC 3879), nor the anycast address of 6to4 relays (RFC 7526).
"""

from __future__ import annotations

import ipaddress

type Ip = ipaddress.IPv4Address | ipaddress.IPv6Address
type Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052 §2.1
_COMPATIBLE = ipaddress.IPv6Network("::/96")  # RFC 4291 §2.5.5.1
_RELAYS = ipaddress.IPv4Network("192.88.99.0/24")  # RFC 7526
_DOCUMENTATION = tuple(
    map(
        ipaddress.ip_network,
        ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20"),
    )
)


def plain_ip(text: str) -> Ip:
    """Return an address, IPv6 forms of IPv4 addresses as the IPv4 address within. Raise ValueError."""
    ip = ipaddress.ip_address(text)
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in _NAT64 or (ip in _COMPATIBLE and int(ip) > 1):
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    if ip.teredo is not None:
        return ip.teredo[1]
    return ip.ipv4_mapped or ip.sixtofour or ip


def is_public(ip: Ip) -> bool:
    """Return whether a host on the public Internet can have the address; ``ip`` as ``plain_ip`` gives it."""
    is_site_local = isinstance(ip, ipaddress.IPv6Address) and ip.is_site_local  # once private, now called global
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or is_site_local or ip in _RELAYS)


def is_documentation(ip: Ip) -> bool:
    """Return whether the address is one of those that no host has (RFC 5737, RFC 3849, RFC 9637)."""
    return any(ip in network for network in _DOCUMENTATION)
