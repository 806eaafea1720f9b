"""Mailboxes, as delivery uses them: resolve recipients, deliver a batch."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, Protocol
from uuid import UUID

from posthorn.ports.filing import Authors, FilingFacts
from posthorn.ports.hand_over import HandOver
from posthorn.ports.segments import Segment


@dataclass(frozen=True, slots=True)
class Forward:
    """An address elsewhere that an alias leads to."""

    address: str
    alias: str
    """The alias whose target it is: its domain is used to rewrite the reverse-path."""
    tenant: UUID
    withheld: Literal["", "suppressed", "unconfirmed"] = ""
    """Why it gets nothing: it is on the tenant's suppression list, or has not confirmed."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """What recipients resolve to, by Postgres."""

    accounts: Mapping[str, tuple[int, ...]]
    """For each recipient that resolves, the ids of its accounts, without repeats. A recipient
    that is missing here leads nowhere: its account or alias was deleted since RCPT."""
    delivered: frozenset[UUID]
    """Those of the message ids that are delivered already (an earlier delivery whose ack was
    lost)."""
    forwards: Mapping[str, tuple[Forward, ...]] = field(default_factory=dict)
    """For each recipient whose aliases lead elsewhere, the targets; it may have accounts as
    well."""
    elsewhere: frozenset[str] = frozenset()
    """Recipients whose own domain is not local."""
    wide: frozenset[str] = frozenset()
    """Recipients with too many addresses for a batch; they are in none of the above. See
    ``ports.expansions``."""
    filing: FilingFacts = field(default_factory=FilingFacts)
    """Policies and correspondents, for the recipients that were asked about."""


type LongSender = tuple[str, str]
"""A long sender as an SRS2 address names it: the local domain of that address, in lower case,
and the token (ADR 27)."""


class AccountsGone(Exception):
    """An account was deleted between resolve and deliver. Resolve again; nothing has been
    written."""


class Mailboxes(Protocol):
    """The metadata store as delivery uses it. Every method raises Unavailable for faults of the
    store."""

    async def resolve(
        self,
        recipients: Collection[str],
        messages: Collection[UUID],
        authors: Authors = MappingProxyType({}),
    ) -> Resolution:
        """Resolve aliases, ``+tags`` and catch-alls to accounts, and return which messages are
        delivered already. One round trip, unless they lead to thousands of addresses together.
        An alias with more than about a hundred is only reported as wide.

        For the recipients in ``authors`` also return what filing must know, in one more.
        """
        ...

    async def long_senders(self, asked: Collection[LongSender]) -> Mapping[LongSender, str]:
        """Return the senders, as written, that were stored when their messages were forwarded.
        Those never stored, or expired, are missing."""
        ...

    async def savers(self, submitters: Collection[str]) -> Mapping[str, int]:
        """Return those of the submitting accounts, by canonical address, that keep a copy in Sent
        of what they submit, with their ids."""
        ...

    async def deliver(self, segments: Sequence[Segment], over: HandOver | None = None) -> int:
        """Write messages, mailbox entries, quarantined copies, quotas, outbound rows and segments
        in one transaction: all or nothing. Remember whom the submitting accounts have written to.

        A message id that exists already is unchanged (its part of the segment is dead at once), so
        that redelivery does nothing. Raises AccountsGone. Quotas are not checked: the message was
        accepted. The sender of an outbound part with a ``long_token`` is stored; where its domain
        has too many new ones, the part gets the null reverse-path instead. An outbound part in the
        state HELD opens an expansion (``ports.expansions``). Returns the number of entries created.

        ``over``: claim what is due at its destination for its relay, if that is possible at once
        (``ports.hand_over``).
        """
        ...

    async def probe(self) -> None:
        """Check the store by a cheap query, and the schema version. Raises Unavailable."""
        ...
