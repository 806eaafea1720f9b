"""Which addresses of a host mail is sent to, and in which order (RFC 5321 §5.1, RFC 1122 §3.2.1.3).

A stranger's MX, or an address literal, must not direct the relay at hosts that trust whoever is
inside: private addresses are used only where the settings name their network. Loopback,
unspecified, link-local, multicast and reserved addresses lead to this machine, to a cloud's
metadata, or nowhere: no network that is named allows them. Addresses for documentation lead nowhere
and harm nobody. A route leads anywhere.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Self

from posthorn.model.ip_addresses import (
    DOCUMENTATION_NETWORKS,
    LOOPBACK_NETWORKS,
    UNROUTABLE_NETWORKS,
    AddressPolicy,
    Ip,
    plain_ip,
)
from posthorn_relay.settings import EgressSettings


@dataclass(frozen=True, slots=True)
class HostAddresses:
    """Selects and orders the addresses of a host."""

    policy: AddressPolicy
    ipv6: bool
    own: frozenset[Ip]
    """Addresses that mail leaves from: a host that has one is this relay itself."""

    @classmethod
    def from_settings(cls, settings: EgressSettings) -> Self:
        """Return the selection that the settings describe."""
        bound = (settings.relay_bind_ipv4, settings.relay_bind_ipv6)
        own = [ipaddress.ip_address(text) for text in bound if text]
        private = tuple(map(ipaddress.ip_network, settings.relay_private_networks))
        if settings.relay_loopback:
            policy = AddressPolicy(
                (*DOCUMENTATION_NETWORKS, *private, *LOOPBACK_NETWORKS), UNROUTABLE_NETWORKS
            )
        else:
            policy = AddressPolicy(
                (*DOCUMENTATION_NETWORKS, *private), (*UNROUTABLE_NETWORKS, *LOOPBACK_NETWORKS)
            )
        return cls(
            policy,
            settings.relay_ipv6,
            frozenset(ip for ip in own if not (ip.is_unspecified or ip.is_loopback)),
        )

    def is_own(self, addresses: Sequence[str]) -> bool:
        """Return whether one of a host's addresses is ours."""
        return bool(self.own) and any(plain_ip(address) in self.own for address in addresses)

    def allowed(self, addresses: Sequence[str]) -> list[str]:
        """Return those that mail for strangers' domains may go to, in the order of ``in_order``."""
        return self.in_order([address for address in addresses if self.policy.allows(address)])

    def in_order(self, addresses: Sequence[str]) -> list[str]:
        """Return a host's addresses in the order to try: families in turn, IPv6 first (RFC 8305
        §4).

        Within a family the order is random, so that all addresses bear load.
        """
        ips = [ipaddress.ip_address(address) for address in dict.fromkeys(addresses)]
        six = [str(ip) for ip in ips if ip.version == 6 and self.ipv6]
        four = [str(ip) for ip in ips if ip.version == 4]
        random.shuffle(six)
        random.shuffle(four)
        return [
            address
            for address in chain.from_iterable(zip_longest(six, four))
            if address is not None
        ]
