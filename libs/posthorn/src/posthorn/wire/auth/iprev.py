"""iprev: whether a client's address has a name that leads back to it (RFC 8601 §2.7.3, §3).

SPF uses the same confirmation for ``ptr`` and ``%{p}`` (RFC 7208 §5.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from posthorn.wire.address import AddressError
from posthorn.wire.auth.lookup import DnsUnavailable, Lookup
from posthorn.wire.auth.results import Iprev, Outcome
from posthorn.wire.foreign_address import foreign_domain

MOST_NAMES = 10
"""Names of an address that are looked up (RFC 7208 §4.6.4)."""

type IpAddress = IPv4Address | IPv6Address


def client_address(text: str) -> IpAddress | None:
    """Return the address of a client, an IPv4-mapped one as IPv4; None if it is not an address."""
    try:
        address = ip_address(text.partition("%")[0])  # without an IPv6 zone
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


async def check_iprev(lookup: Lookup, client: str) -> Iprev:
    """Return whether a name of the client leads back to its address.

    PERMERROR: it has no name; FAIL: no name leads back; NONE: ``client`` is not an address. Never
    raises.
    """
    address = client_address(client)
    if address is None:
        return Iprev()
    is_unknown = False
    try:
        names = await lookup.names(str(address))
    except DnsUnavailable:
        return Iprev(Outcome.TEMPERROR)
    for name in names_of_hosts(names or ()):
        try:
            if await leads_to(lookup, name, address):
                return Iprev(Outcome.PASS, name)
        except DnsUnavailable:
            is_unknown = True
    if not names:
        return Iprev(Outcome.PERMERROR)
    return Iprev(Outcome.TEMPERROR if is_unknown else Outcome.FAIL)


def names_of_hosts(names: Sequence[str]) -> list[str]:
    """Return the first ten PTR records, without those that cannot be a host's name; canonical."""
    hosts = []
    for name in names[:MOST_NAMES]:
        try:
            hosts.append(foreign_domain(name))
        except AddressError:
            continue
    return hosts


async def leads_to(lookup: Lookup, name: str, address: IpAddress) -> bool:
    """Return whether a name has this address. Raises DnsUnavailable."""
    found = await lookup.addresses(name, v6=address.version == 6)
    return any(client_address(each) == address for each in found or ())
