"""Recipients of mail for a postmaster without an account, alias or catch-all (RFC 5321 §4.5.1).

In this order, the first that exists:

1. the address of the setting ``POSTHORN_SMTP_POSTMASTER``, or without one ``postmaster@`` the host
   name or a domain above it;
2. the oldest account of the domain.

smtp-in and the API use the same order, so that both accept the same recipients.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from posthorn.ports.directory import DirectoryWithPostmasters
from posthorn.wire.address import Address, parse_address

LOCAL_PART = "postmaster"


class Postmasters:
    """The order for one installation."""

    def __init__(self, setting: str | None, host: str) -> None:
        """``setting``: an address or None. ``host``: the name of this mail server."""
        self.general = _general(setting, host)
        """Addresses that serve all domains, first to last. Never empty; none need exist."""

    @property
    def names(self) -> tuple[str, ...]:
        """The same as texts, each followed by its base address where it has a tag."""
        return tuple(
            str(each)
            for address in self.general
            for each in (address, address.base)
            if each is not None
        )

    async def candidates(
        self, directory: DirectoryWithPostmasters, domain: str | None
    ) -> AsyncIterator[Address]:
        """Return the candidates for the mail of a domain's postmaster; None: of this host.
        Raises Unavailable."""
        for address in self.general:
            yield address
        for name in (
            [domain] if domain is not None else [address.domain for address in self.general]
        ):
            if (oldest := await directory.postmaster(name)) is not None:
                yield oldest


def _general(setting: str | None, host: str) -> tuple[Address, ...]:
    if setting:
        return (parse_address(setting),)
    labels = host.split(".")
    domains = [".".join(labels[at:]) for at in range(max(len(labels) - 1, 1))]
    return tuple(Address(LOCAL_PART, domain) for domain in domains)
