"""Maildrops: a mailbox as POP3 sees it (RFC 1939), under an exclusive lease."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from posthorn.model.blob_range import BodyLocation
from posthorn.ports.access import Ending, FamiliarNetwork, LoginCheck, LoginFindings, Proof

LEASE_SECONDS = 25.0
"""Seconds for which a lease holds without renewal; a dead pod's maildrops are free well within
30 s."""
RENEW_SECONDS = 8.0
"""Seconds between renewals of all leases of a process, in one statement."""


@dataclass(frozen=True, slots=True)
class AccountLogin:
    """An account's credentials and tenant at login."""

    account: int
    address: str
    password_hash: str
    active: bool
    """False: the account is suspended and may not log in."""
    tenant: UUID
    """Tenant of the account."""
    network_age: float | None = None
    """Seconds since the account last logged in from the given network; None: not familiar."""
    keep_days: int | None = None
    """Days after which the domain's retention removes messages; None: never."""
    networks: tuple[str, ...] = ()
    """CIDR networks that logins may come from; empty: any."""
    findings: LoginFindings | None = field(default=None, compare=False)
    """What the login asked besides; None: nothing, or the store cannot tell."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The snapshot of an INBOX at login, in columns: a maildrop of 100,000 messages is two
    lists, not as many objects."""

    uidvalidity: int
    uids: Sequence[int]
    """Ascending."""
    sizes: Sequence[int]
    """For each message the exact bytes of RETR before dot-stuffing and without the final dot
    line."""
    version: str = field(default="", compare=False)
    """Another one after each change of the INBOX; empty: not known."""
    unique_ids: Mapping[int, bytes] = field(default_factory=dict)
    """By uid, unique ids of the server that messages have moved from, in place of those that
    ``unique_id`` makes; some may be of messages that are gone."""
    octets: int = field(init=False, compare=False)
    """The sizes added up."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "octets", sum(self.sizes))

    def __len__(self) -> int:
        return len(self.uids)


def unique_id(uidvalidity: int, uid: int) -> bytes:
    """Return the unique id of a message: permanent, unique in the maildrop, 1 to 70 characters
    0x21 to 0x7E (RFC 1939 §7)."""
    return b"%x.%d" % (uidvalidity, uid)


def is_unique_id(text: str) -> bool:
    """Return whether a text can be the unique id of a message (RFC 1939 §7)."""
    return _UNIQUE_ID.fullmatch(text) is not None


_UNIQUE_ID = re.compile(r"[\x21-\x7e]{1,70}")


class MaildropBusy(Exception):
    """Another session holds the maildrop: ``-ERR [IN-USE]``."""


class LeaseLost(Exception):
    """The lease expired and another session may have taken the maildrop: nothing was deleted."""


class Revoked(Exception):
    """The credential of the session is no longer valid: nothing was deleted."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.value)
        self.ending = ending


class Maildrops(Protocol):
    """Every method raises Unavailable for faults of the store."""

    async def login(
        self, address: str, network: bytes = b"", check: LoginCheck | None = None
    ) -> AccountLogin | None:
        """Return an account by canonical address, and whether ``network`` is familiar to it; None
        when there is none."""
        ...

    async def remember(self, networks: Collection[FamiliarNetwork]) -> None:
        """Record the networks that accounts have just logged in from, as
        ``ports.access.FamiliarNetworks``."""
        ...

    async def open(
        self,
        account: int,
        holder: UUID,
        *,
        by_app_password: bool = False,
        known: Listing | None = None,
    ) -> Listing:
        """Take the lease for ``holder`` (one session) and return the INBOX. Raises MaildropBusy.

        A login with the account's own password takes over the lease of a session with an app
        password. ``known``: an earlier listing of the account, which is returned itself if nothing
        has changed since.
        """
        ...

    async def renew(self, holders: Collection[tuple[int, UUID]]) -> set[UUID]:
        """Renew the leases of (account, holder) pairs; return the holders that still hold
        theirs."""
        ...

    async def ended(self, sessions: Mapping[UUID, Proof]) -> dict[UUID, Ending]:
        """Return those of the sessions, by their leases' holders, that must end, and why. One
        statement for all of them."""
        ...

    async def locate(self, account: int, uids: Collection[int]) -> dict[int, BodyLocation]:
        """Return the present locations of messages; a missing uid no longer exists."""
        ...

    async def commit(
        self, account: int, holder: UUID, uids: Collection[int], proof: Proof | None = None
    ) -> int:
        """Delete the messages, release quota and lease, all in one transaction; returns how many
        were deleted.

        A message that is already gone counts as deleted. Raises LeaseLost, or Revoked when
        ``proof`` does not hold any more, with nothing deleted.
        """
        ...

    async def release(self, holders: Collection[tuple[int, UUID]]) -> None:
        """Release the leases of (account, holder) pairs without deleting anything; a lost lease
        is no error."""
        ...

    async def probe(self) -> None:
        """Check the store by a cheap query, and the schema version. Raises Unavailable."""
        ...
