"""DNS lookups for outbound mail (RFC 5321 §5, RFC 7505, RFC 7672)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class NoSuchDomain(Exception):
    """The domain does not exist (NXDOMAIN), or has neither MX nor address: permanent."""


class NullMx(Exception):
    """The domain accepts no mail (null MX, RFC 7505): permanent, 5.1.10."""


class LookupFailed(Exception):
    """No answer, SERVFAIL, or an invalid one: transient (promise 3)."""


@dataclass(frozen=True, slots=True)
class Exchanger:
    """A host that accepts mail for a domain (MX)."""

    preference: int
    host: str
    """Canonical name."""
    secure: bool = False
    """The MX set was validated by DNSSEC (the AD bit of a trusted resolver)."""


@dataclass(frozen=True, slots=True)
class Tlsa:
    """A TLSA record (RFC 6698 §2.1)."""

    usage: int
    selector: int
    matching: int
    data: bytes


class Resolver(Protocol):
    """Looks up names for mail. Every method raises LookupFailed without an answer."""

    async def exchangers(self, domain: str) -> Sequence[Exchanger]:
        """Return the MX set by preference, equal ones in random order; without one, the domain
        itself (RFC 5321 §5.1).

        Raises NullMx, NoSuchDomain.
        """
        ...

    async def addresses(self, host: str) -> tuple[Sequence[str], bool]:
        """Return IPv6 and IPv4 addresses of a host, and whether they were validated."""
        ...

    async def tlsa(self, host: str, port: int) -> tuple[Sequence[Tlsa], bool]:
        """Return the TLSA records of a host's port, and whether they were validated; others must
        not be used."""
        ...

    async def texts(self, name: str) -> Sequence[str]:
        """Return the TXT records of a name, each with its strings joined."""
        ...


class Records(Protocol):
    """DNS records as published: for checking zones, not for sending."""

    async def records(self, name: str, kind: str) -> Sequence[str]:
        """The records of exactly this type that a name leads to, over any aliases; none when there
        is none, or no such name.

        ``kind`` is ``A``, ``AAAA``, ``CNAME``, ``MX``, ``PTR``, ``SRV`` or ``TXT``. Names in the
        answer are in lower case without their final dot, but for the root, which is ``.``; a TXT
        record's strings are joined, bytes that are not ASCII become U+FFFD. MX and SRV read as in
        a zone file: ``10 mx.example.test``. The order is that of the text. Nothing is remembered
        from one question to the next. Raises LookupFailed when it cannot know.
        """
        ...
