"""Which addresses the relay sends to: those that another host could have (RFC 5321 §5.1, RFC 1122 §3.2.1.3).

Those that no host on the public Internet has (``posthorn.model.public_addresses``) are not, unless the settings name their network:
a stranger's MX, or an address literal, would aim the relay at hosts that trust whoever is inside. Routes lead there all the same.
Loopback, unspecified, link-local, multicast and reserved ones lead to this very host, to the metadata of a cloud, or nowhere: no
network that is named opens them. Addresses for documentation lead nowhere and harm nobody.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Self

from posthorn.model.public_addresses import Ip, is_documentation, is_public, plain_ip
from posthorn_relay.settings import EgressSettings

_THIS_NETWORK = ipaddress.IPv4Network("0.0.0.0/8")


@dataclass(frozen=True, slots=True)
class Reach:
    """What the settings say of addresses."""

    ipv6: bool
    loopback: bool
    own: frozenset[Ip]
    """Addresses that mail leaves from: a host that has one is ourselves."""
    private: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    """Private networks that mail may be sent to without a route."""

    @classmethod
    def of(cls, settings: EgressSettings) -> Self:
        """Take it from the settings."""
        bound = (settings.relay_bind_ipv4, settings.relay_bind_ipv6)
        own = [ipaddress.ip_address(text) for text in bound if text]
        return cls(
            settings.relay_ipv6,
            settings.relay_loopback,
            frozenset(ip for ip in own if not (ip.is_unspecified or ip.is_loopback)),
            tuple(map(ipaddress.ip_network, settings.relay_private_networks)),
        )

    def is_own(self, addresses: Sequence[str]) -> bool:
        """Whether one of a host's addresses is ours."""
        return bool(self.own) and any(plain_ip(address) in self.own for address in addresses)

    def sendable(self, addresses: Sequence[str]) -> list[str]:
        """Give those that mail from strangers' domains may go to, in the order of ``in_turn``."""
        return self.in_turn([address for address in addresses if self._may(plain_ip(address))])

    def in_turn(self, addresses: Sequence[str]) -> list[str]:
        """Give a host's addresses in the order to try: families by turns, IPv6 first (RFC 8305 §4), each in random order so
        that all of them bear load."""
        ips = [ipaddress.ip_address(address) for address in dict.fromkeys(addresses)]
        six = [str(ip) for ip in ips if ip.version == 6 and self.ipv6]
        four = [str(ip) for ip in ips if ip.version == 4]
        random.shuffle(six)
        random.shuffle(four)
        return [address for address in chain.from_iterable(zip_longest(six, four)) if address is not None]

    def _may(self, ip: Ip) -> bool:
        if ip.is_loopback:
            return self.loopback
        if is_public(ip) or is_documentation(ip):
            return True
        if (
            ip in _THIS_NETWORK
            or ip.is_unspecified
            or ip.is_link_local
            or ip.is_multicast
            or (ip.version == 4 and ip.is_reserved)
        ):
            return False
        return any(ip in network for network in self.private)
