"""Maildrops: a mailbox as POP3 sees it (RFC 1939), under an exclusive lease."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from posthorn.model.blob_range import BodyLocation
from posthorn.ports.access import Ending, Place, Proof

LEASE_SECONDS = 25.0
"""How long a lease holds without renewal; a dead pod's maildrops are free well within 30 s."""
RENEW_SECONDS = 8.0
"""How often a living process renews all of its leases, in one statement."""


@dataclass(frozen=True, slots=True)
class AccountLogin:
    """What is known of an account at login."""

    account: int
    address: str
    password_hash: str
    active: bool
    """False: the account is suspended and may not log in."""
    tenant: UUID
    """Whose account it is."""
    place_age: float | None = None
    """Seconds since the account was noted at the place that was asked for; None: it was not lately logged in to from there."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The snapshot of an INBOX at login, in columns: a maildrop of 100,000 messages is two lists, not as many objects."""

    uidvalidity: int
    uids: Sequence[int]
    """Ascending."""
    sizes: Sequence[int]
    """Of each message the exact octets of RETR before dot-stuffing and without the final dot line."""

    def __len__(self) -> int:
        return len(self.uids)


def unique_id(uidvalidity: int, uid: int) -> bytes:
    """The unique id of a message: stable for ever, unique in the maildrop, 1 to 70 characters 0x21 to 0x7E (RFC 1939 §7)."""
    return b"%x.%d" % (uidvalidity, uid)


class MaildropBusy(Exception):
    """Another session holds the maildrop: ``-ERR [IN-USE]``."""


class LeaseLost(Exception):
    """The lease ran out and another session may have taken the maildrop: nothing was deleted."""


class Revoked(Exception):
    """What the session logged in with does not hold any more: nothing was deleted."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.value)
        self.ending = ending


class Maildrops(Protocol):
    """Every method raises Unavailable for faults of the store."""

    async def login(self, address: str, place: bytes = b"") -> AccountLogin | None:
        """Look an account up by canonical address, and whether ``place`` is familiar to it; None when there is none."""
        ...

    async def remember(self, places: Collection[Place]) -> None:
        """Note that the accounts were just logged in to from the places, as ``ports.access.Places``."""
        ...

    async def open(self, account: int, holder: UUID, *, by_app_password: bool = False) -> Listing:
        """Take the lease for ``holder`` (one session) and return the INBOX. Raises MaildropBusy.

        Who logged in with the account's own password takes the lease of a session that logged in with an app password.
        """
        ...

    async def renew(self, holders: Collection[tuple[int, UUID]]) -> set[UUID]:
        """Renew the leases of (account, holder) pairs; returns the holders that still hold theirs."""
        ...

    async def ended(self, sessions: Mapping[UUID, Proof]) -> dict[UUID, Ending]:
        """Return those of the sessions, by their leases' holders, that may not go on, and why. One statement for all of them."""
        ...

    async def locate(self, account: int, uids: Collection[int]) -> dict[int, BodyLocation]:
        """Where the messages lie now; a uid that is missing has gone."""
        ...

    async def commit(self, account: int, holder: UUID, uids: Collection[int], proof: Proof | None = None) -> int:
        """Delete the messages, release quota and lease, all in one transaction; returns how many were deleted.

        A message that is already gone counts as deleted. Raises LeaseLost, or Revoked when ``proof`` does not hold any more, with
        nothing deleted.
        """
        ...

    async def release(self, account: int, holder: UUID) -> None:
        """Give the lease back without deleting anything; a lost lease is no error."""
        ...

    async def probe(self) -> None:
        """A cheap real query that also checks the schema version. Raises Unavailable."""
        ...
