"""The network that a client belongs to, as far as strangers are counted together."""

from __future__ import annotations

import ipaddress

_IPV4_PREFIX = 24
_IPV6_PREFIX = 48


def network_of(address: str) -> str:
    """Return the network of an IP address: a /24 of IPv4, a /48 of IPv6; an empty string for what is no IP address."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is None:
            return str(ipaddress.ip_network((ip, _IPV6_PREFIX), strict=False))
        ip = ip.ipv4_mapped
    return str(ipaddress.ip_network((ip, _IPV4_PREFIX), strict=False))
