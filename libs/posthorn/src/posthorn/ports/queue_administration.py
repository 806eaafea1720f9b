"""The outbound queue as administrators search and change it; its words are those of
``ports.queue``."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from posthorn.model.outbound import QueueState
from posthorn.ports.listing import Listed, ListQuery


@dataclass(frozen=True, slots=True)
class ClosedNextHop:
    """Why nothing is sent to a next hop for the time being."""

    until: datetime
    host: str
    """``name (address)`` of the host that failed last; empty where none was found."""
    reply: str
    """Its reply, or what else went wrong."""


@dataclass(frozen=True, slots=True)
class QueueItem:
    """One recipient of the queue, as an administrator sees it."""

    id: int
    message: UUID
    state: QueueState
    sender: str
    recipient: str
    destination: str
    attempts: int
    due_at: datetime | None
    """None when it has ended or is held."""
    expires_at: datetime
    created_at: datetime
    last_attempt_at: datetime | None
    last_host: str
    last_status: str
    last_reply: str
    last_tls: str
    original: str
    subject: str
    size: int
    next_hop: ClosedNextHop | None = None
    """Set while the recipient waits and its next hop is closed."""


@dataclass(frozen=True, slots=True)
class QueueFilter:
    """Which recipients; an empty filter means all."""

    domain: str | None = None
    state: QueueState | None = None
    """Exactly this one."""
    sender: str | None = None
    recipient: str | None = None
    message: UUID | None = None
    older_than: float | None = None
    """Minimum seconds in the queue."""
    younger_than: float | None = None
    tenant: str | None = None
    """Name or id of the owning tenant."""
    ids: tuple[int, ...] | None = None
    """Only these."""
    waits: bool = False
    """Only recipients that are not finished."""


@dataclass(frozen=True, slots=True)
class QueueGroup:
    """Recipients that wait for one destination in one state, after replies of one class."""

    destination: str
    state: QueueState
    reply_class: str
    """Class and subject of the last enhanced status code (RFC 3463 §2), such as ``4.7``; empty:
    none was tried, or the reply had none."""
    recipients: int
    oldest_at: datetime
    next_attempt_at: datetime | None
    """None while they are held or being sent."""
    sample: int
    """The newest of them."""
    sample_host: str
    sample_reply: str
    """What the host last said to that one."""
    next_hop: ClosedNextHop | None = None
    """Set while the next hop is closed."""


@dataclass(frozen=True, slots=True)
class Permitted:
    """How many recipients a selection has before an action."""

    matching: int
    """That are waiting or being sent, or of ``ids`` all that there are."""
    permitted: int
    """Whose state permits the action."""


class QueueAdministration(Protocol):
    """The queue as the API uses it; ``tenant`` as in ``ports.administration``. Raises
    Unavailable."""

    async def listed(
        self, tenant: UUID | None, which: QueueFilter, asked: ListQuery
    ) -> Listed[QueueItem]:
        """Return a page, newest first. ``asked.part`` is looked for in recipient, reverse-path and
        last reply; state and owner are those of ``which``. Orders: ``created``; ``due``, which has
        what waits alone."""
        ...

    async def items(
        self, tenant: UUID | None, which: QueueFilter, before: int | None, limit: int
    ) -> Sequence[QueueItem]:
        """Return items, newest id first, below ``before``."""
        ...

    async def item(self, tenant: UUID | None, item: int) -> QueueItem:
        """Return one item. Raises NotFound."""
        ...

    async def own_domains(
        self, tenant: UUID, names: Collection[str], since: float
    ) -> frozenset[str]:
        """Return those of the domains that the tenant has shown to own by then, in seconds since
        the epoch, for the trace."""
        ...

    async def act(self, tenant: UUID | None, action: str, item: int) -> QueueItem:
        """Apply an action and return the item.

        ``retry`` (queued or deferred: due now), ``hold`` (queued or deferred), ``release`` (held:
        due now) or ``cancel`` (queued, deferred or held; no DSN is sent). After ``retry`` and
        ``release`` a closed next hop is open for one attempt. Raises NotFound, and Conflict when
        its state does not allow the action (it is being sent, or has ended).
        """
        ...

    async def act_on_all(
        self, tenant: UUID | None, action: str, which: QueueFilter, limit: int
    ) -> Sequence[tuple[int, UUID, str, str]]:
        """Apply an action to all matching items whose state allows it, at most ``limit``.

        Return (id, message, recipient, original) of each. ``retry`` leaves out what is due already,
        so that repeating the call continues where it ended; its closed next hop is opened for one
        attempt all the same.
        """
        ...

    async def permitted(
        self, tenant: UUID | None, action: str, which: QueueFilter, most: int
    ) -> Permitted:
        """Count what an action would meet, at most ``most`` of either."""
        ...

    async def summary(
        self,
        tenant: UUID | None,
        which: QueueFilter,
        offset: int,
        limit: int,
        part: str | None = None,
    ) -> Sequence[QueueGroup]:
        """Return groups of what is waiting or being sent, the largest first, from the group number
        ``offset`` on. ``part``: only recipients that the list finds by this text."""
        ...

    async def route_changed(self, domain: str, limit: int) -> None:
        """Apply a changed route of ``domain``, or of ``*``. Platform only.

        Open its next hop for one attempt and make what is deferred there due, at most ``limit``
        recipients.
        """
        ...
