"""Expansions: aliases with too many addresses to be resolved with a batch, queued in slices
after it (ADR 19)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from posthorn.model.envelope import Envelope
from posthorn.model.filter_decision import Decision
from posthorn.model.outbound import Outbound
from posthorn.ports.filing import Withheld
from posthorn.ports.mailboxes import Resolution


@dataclass(frozen=True, slots=True)
class SliceRecipients:
    """Where a slice of an expansion goes."""

    accounts: tuple[int, ...]
    outbound: tuple[Outbound, ...]
    filed: Mapping[int, Decision] = field(default_factory=dict)
    """As in ``ports.segments.SegmentMessage``, like the next one."""
    withheld: tuple[Withheld, ...] = ()


@dataclass(frozen=True, slots=True)
class Expanded:
    """Result of one slice."""

    envelope: Envelope
    """The message, with the alias as its only recipient."""
    tenant: UUID
    """Tenant of the alias."""
    entries: int = 0
    """Mailbox entries made."""
    outbound: tuple[Outbound, ...] = ()
    """Recipients added to the outbound queue."""
    filed: Mapping[int, Decision] = field(default_factory=dict)
    """Decisions that had a reason, for some of the accounts."""
    withheld: tuple[Withheld, ...] = ()
    """Copies that went to quarantine."""
    done: bool = False
    """Whether this was the last slice."""
    accounts: int = 0
    """Mailbox entries made by all slices so far, this one included."""
    refused: str = ""
    """Why it was not expanded: retried later, or final if ``done``."""
    gone: bool = False
    """Whether the alias no longer leads anywhere, so that this recipient is finished."""


type Route = Callable[[Envelope, Resolution], SliceRecipients]
"""Routes the addresses of a slice. Called within a transaction: it must not wait."""


@dataclass(frozen=True, slots=True)
class OpenExpansions:
    """Open expansions."""

    number: int
    """At most 10,000 are counted."""
    oldest_seconds: float
    """Age of the oldest; 0 when there is none."""


class Expansions(Protocol):
    """The metadata store as delivery uses it. Every method raises Unavailable for faults of the
    store.

    An expansion is opened by ``Mailboxes.deliver`` for each ``Outbound`` whose state is HELD. While
    it is open the message keeps its body, and a row of the outbound queue shows it. An alias's
    targets are resolved when a slice is queued.
    """

    async def expand(self, limit: int, route: Route) -> Expanded | None:
        """Queue the next at most ``limit`` addresses of the oldest expansion that is due, in one
        transaction; None when none is due.

        Tenants take turns. No two callers, in any process, get the same expansion at a time, and no
        address is reached twice by one message, whatever happens to a caller. An expansion that
        fails is postponed and its error raised.
        """
        ...

    async def waiting(self) -> OpenExpansions:
        """Return the number and age of open expansions."""
        ...
