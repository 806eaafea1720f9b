"""The DNS questions of sender authentication: the one door through which checks without I/O ask.

Names are ASCII, in any case, with or without a final dot. An implementation caches, limits time and
follows CNAMEs; the checks count their own terms and void lookups (RFC 7208 §4.6.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class DnsUnavailable(Exception):
    """No answer in time, SERVFAIL, or an invalid one: TEMPERROR."""


class Lookup(Protocol):
    """Looks up records. Every method raises DnsUnavailable without an answer.

    None means that the name does not exist (NXDOMAIN); an empty sequence that it has no such
    record. A name that cannot be asked (too long, an empty label) counts as NXDOMAIN.
    """

    async def texts(self, name: str) -> Sequence[bytes] | None:
        """Return the TXT records, each with its strings joined."""
        ...

    async def addresses(self, name: str, *, v6: bool) -> Sequence[str] | None:
        """Return the A records, or with ``v6`` the AAAA records."""
        ...

    async def exchangers(self, name: str) -> Sequence[tuple[int, str]] | None:
        """Return the MX records, by preference; names in lower case without a final dot."""
        ...

    async def names(self, address: str) -> Sequence[str] | None:
        """Return the PTR records of an IP address; names in lower case without a final dot."""
        ...
