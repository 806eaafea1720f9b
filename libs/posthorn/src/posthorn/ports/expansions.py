"""Expansions: aliases that come to too many addresses to be resolved with a batch, entered in slices after it (ADR 19)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from posthorn.model.envelope import Envelope
from posthorn.model.outbound import Outbound
from posthorn.ports.mailboxes import Resolution


@dataclass(frozen=True, slots=True)
class SliceRecipients:
    """Where a slice of an expansion goes."""

    accounts: tuple[int, ...]
    outbound: tuple[Outbound, ...]


@dataclass(frozen=True, slots=True)
class Expanded:
    """What one slice did."""

    envelope: Envelope
    """The message, with the alias as its only recipient."""
    tenant: UUID
    """Whose alias it is."""
    entries: int = 0
    """Mailbox entries made."""
    outbound: tuple[Outbound, ...] = ()
    """Recipients entered into the outbound queue."""
    done: bool = False
    """Whether this was the last slice."""
    accounts: int = 0
    """Mailbox entries made by all slices so far, this one included."""
    refused: str = ""
    """Why it was not expanded: tried again later, or the end if ``done``."""
    gone: bool = False
    """Whether the alias led nowhere any more, so that the message has come to its end for this recipient."""


type Route = Callable[[Envelope, Resolution], SliceRecipients]
"""Decide where the addresses of a slice go. It is called within a transaction: no waiting."""


@dataclass(frozen=True, slots=True)
class OpenExpansions:
    """Open expansions."""

    number: int
    """At most 10,000 are counted."""
    oldest_seconds: float
    """Age of the oldest; 0 when there is none."""


class Expansions(Protocol):
    """What delivery asks of the metadata store. Every method raises Unavailable for faults of the store.

    An expansion is opened by ``Mailboxes.place`` for each ``Outbound`` whose state is HELD. While it is open the message keeps
    its octets, and a row of the outbound queue shows it. What an alias leads to is looked up when a slice is entered.
    """

    async def expand(self, limit: int, route: Route) -> Expanded | None:
        """Enter the next at most ``limit`` addresses of the oldest expansion that is due, in one transaction; None when none is.

        Tenants take turns. Of several callers, in any process, no two get the same expansion at a time, and no address is
        reached twice by one message, whatever happens to a caller. One that fails is put off and its error raised.
        """
        ...

    async def waiting(self) -> OpenExpansions:
        """Return what is open."""
        ...
