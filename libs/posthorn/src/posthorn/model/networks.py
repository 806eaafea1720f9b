"""Networks: parsing, membership, and the network by which the clients of one site are counted together."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

_IPV4_PREFIX = 24
_IPV6_PREFIX = 48

type Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_network(text: str) -> Network:
    """Read a network: an address, or one with ``/`` and a prefix length, or a mask for IPv4.

    Raises ValueError, also for host bits and for a zone (RFC 4007), that says what would be valid. The chart's schema accepts the
    same texts (``deploy/helm/patterns.py``).
    """
    try:
        if "%" not in text:
            return ipaddress.ip_network(text)
    except ValueError:
        pass
    raise ValueError("must be a network such as 192.0.2.0/24, without bits beyond the prefix")


def is_in(address: str, networks: Collection[Network]) -> bool:
    """Return whether a text is an IP address, in canonical form, in one of the networks."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(ip in network for network in networks)


def is_within(address: str, networks: Collection[str]) -> bool:
    """Return whether an IP address is in one of the networks; without networks any is."""
    if not networks:
        return True
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip
    return any(ip in ipaddress.ip_network(each, strict=False) for each in networks)


def network_of(address: str) -> str:
    """Return the network of an IP address: a /24 of IPv4, a /48 of IPv6; an empty string for
    anything else."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is None:
            return str(ipaddress.ip_network((ip, _IPV6_PREFIX), strict=False))
        ip = ip.ipv4_mapped
    return str(ipaddress.ip_network((ip, _IPV4_PREFIX), strict=False))
