"""What a client's address is counted as: itself, and the networks around it.

Rules:

- One client is an IPv4 address, or the 64 bits of IPv6 of which each of its hosts chooses the rest freely.
- Around it are networks that one customer of a provider may hold as a whole: the /24 of IPv4, the /56 and the /48 of IPv6.
- Addresses that are not of the Internet (private, loopback, shared, link-local) are of our own side: balancers and nodes that hide
  their clients, or programs of the same house. They are counted one by one, and no network around them is.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from posthorn.wire.proxy import plain_address

_OWN = tuple(
    map(
        ipaddress.ip_network,
        (
            *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
            *("fc00::/7", "fe80::/10", "::1/128"),
        ),
    )
)


@lru_cache(maxsize=8192)
def client_networks(address: str) -> tuple[str, ...]:
    """Return what a client is counted as, the narrowest first: itself, then the networks around it."""
    try:
        ip = plain_address(ipaddress.ip_address(address.partition("%")[0]))
    except ValueError:
        return (address,)
    if isinstance(ip, ipaddress.IPv4Address):
        client, wider = str(ip), [24]
    else:
        client, wider = str(ipaddress.ip_network((ip, 64), strict=False)), [56, 48]
    if any(ip in network for network in _OWN if network.version == ip.version):
        return (client,)
    return client, *(str(ipaddress.ip_network((ip, bits), strict=False)) for bits in wider)


def is_own_side(address: str) -> bool:
    """Return whether an address is of our own side, so that many clients may be behind it."""
    return len(client_networks(address)) == 1


def client_key(address: str) -> str:
    """Return what a client is counted as: its IPv4 address, or the network of 64 bits that an IPv6 address is of."""
    return client_networks(address)[0]


def site(address: str) -> str:
    """Return the widest network that a client is counted in."""
    return client_networks(address)[-1]
