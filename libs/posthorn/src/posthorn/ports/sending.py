"""Sending: credentials, ownership of addresses, rate limits, suppressions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol
from uuid import UUID

from posthorn.ports.access import Ending, FamiliarNetwork, Proof
from posthorn.ports.accounts import AccountState
from posthorn.ports.listing import Listed, ListQuery
from posthorn.wire.address import Address

APP_PASSWORD_PREFIX = "phap_"  # noqa: S105 - what each begins with
"""Prefix by which services distinguish an app password from an account's own."""
USE_NOTED_SECONDS = 60.0
"""Seconds after which the use of an app password is recorded again: a polling client must not write
a row at each login."""
FAILURES_SECONDS = 600.0
"""Seconds over which failed logins are counted."""
SLACK_SECONDS = 0.001
"""Seconds to which rounding of counters to microseconds may add up."""
MOST_SUPPRESSIONS = 1_000_000
"""Suppressions of a tenant."""
SENDING_SECONDS = 3600.0
"""Seconds over which sent messages are counted."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Sending limits per hour of an account, a domain or a tenant; None: those of the settings."""

    messages_per_hour: int | None = None
    recipients_per_hour: int | None = None

    def within(self, general: Limits) -> Limits:
        """Return these limits, with the general ones where these are None."""
        return Limits(
            general.messages_per_hour if self.messages_per_hour is None else self.messages_per_hour,
            general.recipients_per_hour
            if self.recipients_per_hour is None
            else self.recipients_per_hour,
        )


@dataclass(frozen=True, slots=True)
class Credentials:
    """An account's credentials at login."""

    account: int
    address: str
    domain: str
    tenant: UUID
    password_hash: str
    state: AccountState
    networks: tuple[str, ...]
    """CIDR networks that logins may come from: the account's, or else its domain's; empty: any."""
    account_limits: Limits
    domain_limits: Limits
    tenant_limits: Limits
    network_age: float | None = None
    """Seconds since the account last logged in from the given network; None: not familiar."""
    rehashed: bytes | None = None
    """For ``ports.access.is_same_password``."""


class Senders(Protocol):
    """Every method raises Unavailable for faults of the store."""

    async def credentials(self, address: str, network: bytes = b"") -> Credentials | None:
        """Return an account by canonical address, and whether ``network`` is familiar to it; None
        when there is none. An active one in a domain that is not verified is given as
        receive-only."""
        ...

    async def remember(self, networks: Collection[FamiliarNetwork]) -> None:
        """Record the networks that accounts have just logged in from, as
        ``ports.access.FamiliarNetworks``."""
        ...

    async def ended(self, proofs: Collection[Proof]) -> dict[Proof, Ending]:
        """Return those of the proofs whose sessions must end, and why. One statement for all of
        them."""
        ...

    async def app_password(
        self, account: int, key_hash: bytes, scope: str, client: str = ""
    ) -> bool:
        """Return whether the account has an app password with this SHA-256 for ``scope``
        (``smtp``, ``imap`` or ``pop3``) that has not expired and may be used from ``client``, an IP
        address; record its use."""
        ...

    async def owns(self, account: int, address: Address) -> bool:
        """Return whether the account may send as this address: its own, with any ``+tag`` where
        the domain has plus addressing, or an alias that leads to it, also over other aliases."""
        ...


@dataclass(frozen=True, slots=True)
class Charge:
    """A charge against a key: at most ``limit`` in ``seconds``, refilled evenly (a leaky
    bucket)."""

    key: str
    limit: int
    seconds: float
    cost: int = 1
    """0: only check whether one more would be allowed."""

    def wait(self, ahead: float) -> float:
        """Return the seconds until it could be taken, 0.0 if it can be now. ``ahead``: seconds in
        which the key's bucket will have nothing in it."""
        if self.limit < 1:
            return self.seconds
        wait = ahead + (self.cost or 1) * self.seconds / self.limit - self.seconds
        return 0.0 if wait <= SLACK_SECONDS else wait


NETWORK_FACTOR = 4
"""Factor by which a whole network (IPv6: /48) may fail more often than one client."""
FAMILIAR_FACTOR = 8
"""Factor by which failures from a familiar network may exceed those from all others together."""


def failed_logins(
    networks: Sequence[str], account: str, limits: tuple[int, int], cost: int, *, familiar: str = ""
) -> list[Charge]:
    """Return the charges of a failed login, for all protocols together: to the client's network,
    and to the account if it named one.

    ``networks``: the client, and where there is one the network around it. ``limits``: of a client
    and of an account, in ten minutes. ``familiar``: the client's network, if it is familiar to the
    account, else empty. A familiar network has a counter of its own, so that guesses from elsewhere
    do not lock it out. All other networks share the account's counter.
    """
    client, *wider = networks
    charges = [Charge(f"auth-address:{client}", limits[0], FAILURES_SECONDS, cost)]
    if cost or not familiar:
        charges += [
            Charge(f"auth-network:{each}", limits[0] * NETWORK_FACTOR, FAILURES_SECONDS, cost)
            for each in wider
        ]
    if account:
        if familiar:
            most = limits[1] * FAMILIAR_FACTOR
            charges.append(
                Charge(f"auth-familiar:{account} {familiar}", most, FAILURES_SECONDS, cost)
            )
        else:
            charges.append(Charge(f"auth-account:{account}", limits[1], FAILURES_SECONDS, cost))
    return charges


@dataclass(frozen=True, slots=True)
class RateLimitSubject:
    """Who is charged for a message: an account, a domain or a tenant, with its limits per hour,
    for submission and the API together."""

    kind: Literal["account", "domain", "tenant"]
    name: str
    """The account's address, the domain, or the tenant's id."""
    limits: Limits

    @property
    def title(self) -> str:
        """Return the subject's name for people."""
        return "the tenant" if self.kind == "tenant" else self.name


def sent_message(payers: Iterable[RateLimitSubject], recipients: int) -> list[Charge]:
    """Return the charges of a message to so many recipients, for submission and the API alike,
    to all subjects or to none."""
    charges = []
    for payer in payers:
        for what, limit, cost in (
            ("messages", payer.limits.messages_per_hour, 1),
            ("recipients", payer.limits.recipients_per_hour, recipients),
        ):
            if limit is not None:
                charges.append(
                    Charge(f"{what}-{payer.kind}:{payer.name}", limit, SENDING_SECONDS, cost)
                )
    return charges


def most_recipients(payers: Iterable[RateLimitSubject]) -> tuple[int, str] | None:
    """Return how many recipients one message may have, and whose limit that is; None: any
    number. A message with more would never be allowed, however long it waited: it must be split."""
    limits = [
        (most, payer.title)
        for payer in payers
        if (most := payer.limits.recipients_per_hour) is not None
    ]
    return min(limits, default=None)


class Throttle(Protocol):
    """Rate limits shared by all processes. Raises Unavailable."""

    async def take(self, charges: Sequence[Charge]) -> float:
        """Take all of the charges, or none. Return 0.0 when they were taken, else the seconds
        until they could be."""
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
    """``tenant`` as in ``ports.administration``; without one, of the default tenant. Raises
    Unavailable."""

    async def add(self, tenant: UUID | None, address: str, reason: str) -> tuple[Suppression, bool]:
        """Add an address to the list by hand; return it and whether it is new. Raises Conflict for
        a list of MOST_SUPPRESSIONS."""
        ...

    async def prune(self) -> int:
        """Delete what lists have beyond MOST_SUPPRESSIONS, since bounces and complaints are added
        to full ones as well: the oldest of those first. Return how many."""
        ...

    async def items(
        self, tenant: UUID | None, asked: ListQuery, domain: str | None = None
    ) -> Listed[Suppression]:
        """Return a page, of one domain or of all. Orders: ``address``, ``created``. ``asked.owner``
        owns the list; None: the caller's tenant, or the default one."""
        ...

    async def remove(self, tenant: UUID | None, address: str) -> None:
        """Take it off. Raises NotFound."""
        ...
