"""DANE for SMTP (RFC 7672): which TLSA records count, and what they require of a host.

Rules:

- TLSA records are looked up only where the MX set and the host's addresses were validated (§2.2.1,
  §2.2.2).
- A failed lookup rules out the host; otherwise anybody who can drop packets could turn DANE off
  (§2.1.2).
- Usages 2 and 3 count, no other (§3.1.3). With validated records of which none is usable the host
  must still have TLS (§2.2).
- The records are looked up under the host's name in the MX record; CNAMEs of MX hosts are not
  followed to a second one.
"""

from __future__ import annotations

from dataclasses import dataclass

from posthorn.ports.resolver import Resolver, Tlsa
from posthorn_relay.smtp.certificates import usable_records


@dataclass(frozen=True, slots=True)
class Dane:
    """What DANE requires of a host. Without ``usable`` records that is TLS, unverified."""

    usable: tuple[Tlsa, ...]


async def dane_of(resolver: Resolver, host: str, port: int) -> Dane | None:
    """Look up the TLSA records of a host whose addresses were validated.

    None: DANE does not apply. Raises LookupFailed.
    """
    records, secure = await resolver.tlsa(host, port)
    if not secure or not records:
        return None
    return Dane(usable_records(records))
