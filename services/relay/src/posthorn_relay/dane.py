"""DANE for SMTP (RFC 7672): which TLSA records count, and what they demand of a host.

Rules:

- TLSA records are asked for only where the MX set and the host's addresses were validated (§2.2.1, §2.2.2).
- No answer to that question closes the host, for else whoever can drop packets could turn DANE off (§2.1.2).
- Usages 2 and 3 count, no other (§3.1.3). With validated records of which none counts the host must still be given TLS (§2.2).
- The records are looked for under the host's name as the MX record has it; aliases of MX hosts are not followed to a second one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from posthorn.ports.resolver import Resolver, Tlsa

_USAGES = frozenset({2, 3})
_SELECTORS = frozenset({0, 1})
_DIGESTS = {1: 32, 2: 64}


@dataclass(frozen=True, slots=True)
class Dane:
    """What DANE says of a host. Without ``usable`` ones it demands TLS, unverified."""

    usable: tuple[Tlsa, ...]


async def dane_of(resolver: Resolver, host: str, port: int) -> Dane | None:
    """Ask for the TLSA records of a host whose addresses were validated; None: DANE does not apply. Raises LookupFailed."""
    records, secure = await resolver.tlsa(host, port)
    if not secure or not records:
        return None
    return Dane(usable(records))


def usable(records: Sequence[Tlsa]) -> tuple[Tlsa, ...]:
    """Give those that a certificate can be compared with."""
    return tuple(
        record
        for record in records
        if record.usage in _USAGES
        and record.selector in _SELECTORS
        and (record.data if record.matching == 0 else len(record.data) == _DIGESTS.get(record.matching))
    )
