"""Accounts: the owners of mailboxes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol
from uuid import UUID

from posthorn.ports.changes import Change, Versions
from posthorn.ports.domains import NO_RULES, SendingRules
from posthorn.ports.idempotency import Receipt
from posthorn.ports.listing import Listed, ListQuery
from posthorn.ports.managers import ManagedBy


class AccountState(Enum):
    """State of an account."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    """Accepts no mail and cannot log in."""
    RECEIVE_ONLY = "receive-only"
    """Accepts mail and can be read; cannot send."""


@dataclass(frozen=True, slots=True)
class Account:
    """A mailbox owner."""

    address: str
    quota_bytes: int | None
    """None: unlimited."""
    used_bytes: int
    used_messages: int
    state: AccountState
    created_at: datetime
    updated_at: datetime
    sending: SendingRules = NO_RULES
    save_sent: bool = False
    """Whether a copy of what it submits is delivered into Sent."""
    imap_hidden: tuple[str, ...] = ()
    """IMAP capabilities that it is not shown (``wire.imap.capabilities``)."""
    version: str = ""
    managed_by: ManagedBy | None = None


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account to create, with INBOX, Junk, Sent and Trash."""

    address: str
    password_hash: str
    quota_bytes: int | None = None
    state: AccountState = AccountState.ACTIVE


class Accounts(Protocol):
    """Accounts of tenants; ``ports.administration`` has the rules of every method."""

    async def create_account(
        self, tenant: UUID | None, new: NewAccount, receipt: Receipt[Account] | None = None
    ) -> Change[Account]:
        """Create an account and its mailboxes; each uidvalidity is greater than any an account of
        this address has had.

        Raises ValidationFailed when the domain is not there, Conflict when an account or alias has
        the address.
        """
        ...

    async def accounts(
        self, tenant: UUID | None, asked: ListQuery, domain: str | None = None
    ) -> Listed[Account]:
        """Return a page of accounts, of one domain or of all. Orders: ``address``, ``created``,
        ``used`` (bytes)."""
        ...

    async def account(self, tenant: UUID | None, address: str) -> Account:
        """Return the account of that address. Raises NotFound."""
        ...

    async def change_account(
        self,
        tenant: UUID | None,
        address: str,
        changes: Mapping[str, object],
        expected: Versions = None,
    ) -> Change[Account]:
        """Set ``password_hash``, ``quota_bytes``, ``state``, ``save_sent``, ``imap_hidden`` or the
        fields of SendingRules.

        Raises NotFound, PreconditionFailed, ValidationFailed.
        """
        ...

    async def delete_account(
        self, tenant: UUID | None, address: str, expected: Versions = None
    ) -> Change[None]:
        """Delete the account with its mail, dropping the references exactly.

        Raises NotFound; Conflict while an alias or a catch-all leads to it.
        """
        ...
