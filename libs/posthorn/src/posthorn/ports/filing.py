"""What delivery must know to file the copies of a message, and what it withholds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from posthorn.model.filter_decision import Decision
from posthorn.model.filter_policy import FilterPolicy
from posthorn.model.outbound import Outbound


@dataclass(frozen=True, slots=True)
class OwnerPolicy:
    """The policy for copies of one account, or for those that an alias sends on."""

    address: str
    """Of the account or alias."""
    tenant: UUID
    policy: FilterPolicy
    """Of the system, tenant, domain and account together; of an alias, without the last."""


@dataclass(frozen=True, slots=True)
class FilingFacts:
    """What the decisions of a batch depend on, besides the messages."""

    accounts: Mapping[int, OwnerPolicy] = field(default_factory=dict)
    aliases: Mapping[str, OwnerPolicy] = field(default_factory=dict)
    """By address; those that lead elsewhere."""
    known: frozenset[tuple[int, str]] = frozenset()
    """Accounts with an author that they have written to."""


type Authors = Mapping[str, frozenset[str]]
"""By recipient, the canonical addresses of the shown authors of the messages to it. A recipient
that is missing here needs no facts."""


@dataclass(frozen=True, slots=True)
class Withheld:
    """A copy that goes to quarantine."""

    id: UUID
    recipient: str
    """As the sender addressed it; of a copy that an alias sends on, the alias."""
    account: int | None
    """None: of an alias."""
    tenant: UUID
    decision: Decision
    outbound: tuple[Outbound, ...] = ()
    """What an alias would have sent on."""
