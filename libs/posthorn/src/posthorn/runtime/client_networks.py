"""The networks by which a client is counted: its address and wider ones.

Rules:

- One client is an IPv4 address, or a /64 of IPv6, within which a host chooses its address freely.
- Wider networks are those that one customer of a provider may hold: the /24 of IPv4, the /56 and
  the /48 of IPv6.
- Addresses that are not public (private, loopback, shared, link-local) are internal: balancers and
  nodes that hide their clients, or internal programs. They are counted singly, without wider
  networks.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from posthorn.wire.proxy import plain_address

_OWN = tuple(
    map(
        ipaddress.ip_network,
        (
            *(
                "10.0.0.0/8",
                "172.16.0.0/12",
                "192.168.0.0/16",
                "100.64.0.0/10",
                "127.0.0.0/8",
                "169.254.0.0/16",
            ),
            *("fc00::/7", "fe80::/10", "::1/128"),
        ),
    )
)


@lru_cache(maxsize=8192)
def client_networks(address: str) -> tuple[str, ...]:
    """Return the networks by which a client is counted, the narrowest first."""
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
    """Return whether an address is internal, so that many clients may be behind it."""
    return len(client_networks(address)) == 1


def client_key(address: str) -> str:
    """Return the key by which a client is counted: its IPv4 address, or the /64 of its IPv6
    address."""
    return client_networks(address)[0]


def site(address: str) -> str:
    """Return the widest network by which a client is counted."""
    return client_networks(address)[-1]
