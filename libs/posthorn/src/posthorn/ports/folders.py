"""The mailboxes of an account, as IMAP manages them (RFC 9051 §6.3).

Rules:

- Levels of a name are separated by ``/``; INBOX is in upper case; names are in normal form
  (``wire.imap.mailbox_names``).
- Ids and UIDVALIDITY never come again in an account, also not after DELETE (RFC 9051 §2.3.1.1).
- Every method raises Unavailable for faults of the store; after one from a method that changes
  something, the change may all the same have happened.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from posthorn.ports.access import Ending, FamiliarNetwork, LoginCheck, LoginFindings, Proof

MOST_FOLDERS = 1000
"""Most mailboxes of an account."""
MOST_SUBSCRIPTIONS = 2000
"""Most names that an account is subscribed to."""
MOST_LEVELS = 32
"""Most levels of a name that is created or subscribed to: LIST looks at every name above it."""


@dataclass(frozen=True, slots=True)
class ImapAccount:
    """An account's credentials and settings at login."""

    account: int
    address: str
    password_hash: str
    active: bool
    """False: the account or its tenant is suspended and may not log in."""
    tenant: UUID
    network_age: float | None = None
    """Seconds since the account last logged in from the given network; None: not familiar."""
    networks: tuple[str, ...] = ()
    """CIDR networks that logins may come from; empty: any."""
    hidden: tuple[str, ...] = ()
    """Capabilities that are not shown to this account."""
    prepared: bool = True
    """False: ``prepare`` is due."""
    scram: bytes | None = field(default=None, repr=False)
    """Its verifier for SCRAM in the stored form, void or not; None: none."""
    findings: LoginFindings | None = field(default=None, compare=False)
    """What the login asked besides; None: nothing, or the store cannot tell."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A mailbox with its counters, which are exact."""

    id: int
    name: str
    role: str | None
    """inbox, junk, sent, trash, drafts or archive (RFC 6154); None: no special use."""
    uidvalidity: int
    uidnext: int
    modseq: int
    """HIGHESTMODSEQ, at least 1."""
    messages: int
    unseen: int
    deleted: int
    """Messages with ``\\Deleted``."""
    octets: int


@dataclass(frozen=True, slots=True)
class FolderList:
    """Everything that LIST needs."""

    folders: Sequence[Folder]
    """By name."""
    subscribed: frozenset[str]
    """Names, of which some need not exist."""


@dataclass(frozen=True, slots=True)
class Quota:
    """Use and limit of an account."""

    used_bytes: int
    limit_bytes: int | None
    """None: no limit."""
    used_messages: int


class FolderError(Exception):
    """A change of mailboxes that is refused; nothing was changed. ``code``: the response code
    (RFC 9051 §7.1) without brackets, empty for none."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Folders(Protocol):
    """See the rules above."""

    async def login(
        self, address: str, network: bytes = b"", check: LoginCheck | None = None
    ) -> ImapAccount | None:
        """Return an account by canonical address, and whether ``network`` is familiar to it; None
        when there is none."""
        ...

    async def remember(self, networks: Collection[FamiliarNetwork]) -> None:
        """Record the networks that accounts have just logged in from, as
        ``ports.access.FamiliarNetworks``."""
        ...

    async def ended(self, proofs: Mapping[int, Proof]) -> dict[int, Ending]:
        """Return those of the connections, by a number of the caller's, that must end, and why.
        One statement for all of them."""
        ...

    async def prepare(self, account: int) -> None:
        """Create the standard mailboxes that are missing (a mailbox ``Drafts`` or ``Archive``
        without a role gets it), give names that are not in normal form that form, and subscribe to
        all mailboxes; once for an account."""
        ...

    async def list(self, account: int) -> FolderList:
        """Return all mailboxes and subscriptions."""
        ...

    async def find(self, account: int, name: str) -> Folder | None:
        """Return one mailbox; None when there is none."""
        ...

    async def create(self, account: int, name: str, role: str | None = None) -> Folder:
        """Create a mailbox and the missing ones above it. Raises FolderError: ALREADYEXISTS,
        USEATTR (the role is given already), LIMIT."""
        ...

    async def delete(self, account: int, name: str) -> None:
        """Delete a mailbox with its messages; those below it stay, and subscriptions too. Raises
        FolderError: NONEXISTENT, CANNOT (INBOX and those with a role of every account)."""
        ...

    async def rename(self, account: int, name: str, to: str) -> None:
        """Rename a mailbox and those below it in one transaction; create the missing ones above
        ``to``. INBOX: move its messages to a new mailbox. Raises FolderError: NONEXISTENT,
        ALREADYEXISTS, CANNOT, LIMIT."""
        ...

    async def subscribe(self, account: int, name: str) -> None:
        """Subscribe to a name, whether it exists or not. Raises FolderError: LIMIT."""
        ...

    async def unsubscribe(self, account: int, name: str) -> None:
        """End a subscription; a missing one is no error."""
        ...

    async def quota(self, account: int) -> Quota:
        """Return use and limit."""
        ...

    async def probe(self) -> None:
        """Check the store by a cheap query, and the schema version. Raises Unavailable."""
        ...
