"""Accounts: the owners of mailboxes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from posthorn.ports.domains import NO_RULES, SendingRules


class AccountState(Enum):
    """What an account may do."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    """Takes no mail and may not log in."""
    RECEIVE_ONLY = "receive-only"
    """Takes mail and may be read, may not send."""


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
    version: str = ""


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account to be made, with INBOX, Junk, Sent and Trash."""

    address: str
    password_hash: str
    quota_bytes: int | None = None
    state: AccountState = AccountState.ACTIVE
