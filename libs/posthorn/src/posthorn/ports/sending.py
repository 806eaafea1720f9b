"""Who may send: credentials, ownership of addresses, throttles, suppressions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol
from uuid import UUID

from posthorn.ports.access import Ending, Place, Proof
from posthorn.ports.accounts import AccountState
from posthorn.wire.address import Address

APP_PASSWORD_PREFIX = "phap_"  # noqa: S105 - what each begins with
"""By this the services tell an app password from an account's own."""
FAILURES_SECONDS = 600.0
"""The time over which failed logins are counted."""
SENDING_SECONDS = 3600.0
"""The time over which what is sent is counted."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an account, a domain or a tenant may send per hour; None: as the settings say."""

    messages_per_hour: int | None = None
    recipients_per_hour: int | None = None

    def within(self, general: Limits) -> Limits:
        """Return these limits, and the general ones where these say nothing."""
        return Limits(
            general.messages_per_hour if self.messages_per_hour is None else self.messages_per_hour,
            general.recipients_per_hour if self.recipients_per_hour is None else self.recipients_per_hour,
        )


@dataclass(frozen=True, slots=True)
class Credentials:
    """What is known of an account at a login."""

    account: int
    address: str
    domain: str
    tenant: UUID
    password_hash: str
    state: AccountState
    networks: tuple[str, ...]
    """CIDR networks logins may come from: the account's, or else its domain's; empty: from anywhere."""
    account_limits: Limits
    domain_limits: Limits
    tenant_limits: Limits
    place_age: float | None = None
    """Seconds since the account was noted at the place that was asked for; None: it was not lately logged in to from there."""


class Senders(Protocol):
    """Every method raises Unavailable for faults of the store."""

    async def credentials(self, address: str, place: bytes = b"") -> Credentials | None:
        """Look an account up by canonical address, and whether ``place`` is familiar to it; None when there is none. An active one
        in a domain that is not verified is given as receive-only."""
        ...

    async def remember(self, places: Collection[Place]) -> None:
        """Note that the accounts were just logged in to from the places, as ``ports.access.Places``."""
        ...

    async def ended(self, proofs: Collection[Proof]) -> dict[Proof, Ending]:
        """Return those of the proofs whose sessions may not go on, and why. One statement for all of them."""
        ...

    async def app_password(self, account: int, key_hash: bytes, scope: str) -> bool:
        """Return whether the account has an app password with this SHA-256 for ``scope`` (``smtp`` or ``pop3``); notes that it was
        used."""
        ...

    async def owns(self, account: int, address: Address) -> bool:
        """Return whether the account may send in this name: its own address, with any ``+tag`` where the domain knows them, or an
        alias that leads to it, over other aliases too."""
        ...


@dataclass(frozen=True, slots=True)
class Charge:
    """Something counted against a key: at most ``limit`` in ``seconds``, refilled evenly (a leaky bucket)."""

    key: str
    limit: int
    seconds: float
    cost: int = 1
    """0 only asks whether one more would go through."""


NETWORK_FACTOR = 4
"""A whole network (IPv6: /48) may fail so many times as often as one of its places."""
FAMILIAR_FACTOR = 8
"""At a familiar place an account may be failed at so many times as often as at all others together."""


def failed_logins(
    places: Sequence[str], account: str, limits: tuple[int, int], cost: int, *, familiar: str = ""
) -> list[Charge]:
    """What a failed login is charged, by all protocols together: to where it came from, and to the account if it named one.

    ``places``: the client, and where there is one the network around it. ``limits``: of a client and of an account, in ten minutes.
    ``familiar``: the network that the client is in, where the account was lately logged in to from there, else empty. Such a place
    has a counter of its own: guesses from elsewhere close nothing for it. All other places share the account's.
    """
    place, *networks = places
    charges = [Charge(f"auth-address:{place}", limits[0], FAILURES_SECONDS, cost)]
    if cost or not familiar:
        charges += [
            Charge(f"auth-network:{each}", limits[0] * NETWORK_FACTOR, FAILURES_SECONDS, cost) for each in networks
        ]
    if account:
        if familiar:
            most = limits[1] * FAMILIAR_FACTOR
            charges.append(Charge(f"auth-familiar:{account} {familiar}", most, FAILURES_SECONDS, cost))
        else:
            charges.append(Charge(f"auth-account:{account}", limits[1], FAILURES_SECONDS, cost))
    return charges


@dataclass(frozen=True, slots=True)
class RateLimitSubject:
    """Who is charged for a message: an account, a domain or a tenant, with what it may send in an hour, by all doors together."""

    kind: Literal["account", "domain", "tenant"]
    name: str
    """The account's address, the domain, or the tenant's id."""
    limits: Limits

    @property
    def title(self) -> str:
        """What the payer is called to people."""
        return "the tenant" if self.kind == "tenant" else self.name


def sent_message(payers: Iterable[RateLimitSubject], recipients: int) -> list[Charge]:
    """What a message to so many recipients is charged, by submission and by the API alike, to all payers or to none."""
    charges = []
    for payer in payers:
        for what, limit, cost in (
            ("messages", payer.limits.messages_per_hour, 1),
            ("recipients", payer.limits.recipients_per_hour, recipients),
        ):
            if limit is not None:
                charges.append(Charge(f"{what}-{payer.kind}:{payer.name}", limit, SENDING_SECONDS, cost))
    return charges


def most_recipients(payers: Iterable[RateLimitSubject]) -> tuple[int, str] | None:
    """How many recipients one message may have, and who says so; None: any number. One with more would never go through, however
    long it waited: it must be split."""
    limits = [(most, payer.title) for payer in payers if (most := payer.limits.recipients_per_hour) is not None]
    return min(limits, default=None)


class Throttle(Protocol):
    """Counters that all processes share. Raises Unavailable."""

    async def take(self, charges: Sequence[Charge]) -> float:
        """Take all of the charges, or none. Returns 0.0 when they were taken, else the seconds until they could be."""
        ...


@dataclass(frozen=True, slots=True)
class Suppression:
    """An address that gets no mail from a tenant."""

    address: str
    reason: str
    source: str
    """``bounce`` or ``api``."""
    message: UUID | None
    created_at: datetime


class Suppressions(Protocol):
    """``tenant`` as in ``ports.administration``; without one, of the default tenant. Raises Unavailable."""

    async def add(self, tenant: UUID | None, address: str, reason: str) -> tuple[Suppression, bool]:
        """Put an address on the list, by hand; whether it is new there."""
        ...

    async def items(self, tenant: UUID | None, domain: str | None, after: str, limit: int) -> Sequence[Suppression]:
        """List by address."""
        ...

    async def remove(self, tenant: UUID | None, address: str) -> None:
        """Take it off. Raises NotFound."""
        ...
