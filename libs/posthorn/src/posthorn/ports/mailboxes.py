"""Mailboxes, from delivery's side: resolve recipients, place a batch."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol
from uuid import UUID

from posthorn.ports.segments import Segment


@dataclass(frozen=True, slots=True)
class Forward:
    """An address elsewhere that an alias of ours leads to."""

    address: str
    alias: str
    """The alias whose target it is: its domain is the one that rewrites the reverse-path."""
    tenant: UUID
    withheld: Literal["", "suppressed", "unconfirmed"] = ""
    """Why it gets nothing: it is on the tenant's suppression list, or has not confirmed that it wants what the alias sends."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """What recipients come to, by Postgres, the truth."""

    accounts: Mapping[str, tuple[int, ...]]
    """For each recipient that resolves, the account ids it leads to, without repeats. A recipient that is missing here leads
    nowhere: its account or alias has gone since RCPT."""
    placed: frozenset[UUID]
    """Those of the asked message ids that are already in the mailboxes (an earlier delivery whose ack was lost)."""
    forwards: Mapping[str, tuple[Forward, ...]] = field(default_factory=dict)
    """For each recipient that aliases lead out of here, where to; it may have accounts as well."""
    elsewhere: frozenset[str] = frozenset()
    """Those recipients whose own domain is not ours."""
    wide: frozenset[str] = frozenset()
    """Those recipients that come to too many addresses for a batch; they are in none of the above. ``ports.expansions``."""


type LongSender = tuple[str, str]
"""A sender that is too long to be rewritten, as an SRS2 address names it: the domain of ours in that address, in lower case,
and the token (ADR 27)."""


class AccountsGone(Exception):
    """An account vanished between resolve and place. Resolve again; nothing has been written."""


class Mailboxes(Protocol):
    """What delivery asks of the metadata store. Every method raises Unavailable for faults of the store."""

    async def resolve(self, recipients: Collection[str], messages: Collection[UUID]) -> Resolution:
        """Follow aliases, ``+tags`` and catch-alls to accounts, and tell which messages are placed already. One round trip,
        unless they lead to thousands of addresses together. An alias that alone leads to more than about a hundred is only told
        to be wide."""
        ...

    async def long_senders(self, asked: Collection[LongSender]) -> Mapping[LongSender, str]:
        """Return the senders, as written, that were stored when messages of theirs were forwarded. Those that were never stored, or
        have expired, are missing."""
        ...

    async def place(self, segments: Sequence[Segment]) -> int:
        """Write messages, mailbox entries, quotas, outbound rows and segments in one transaction: all or nothing.

        A message id that is there already is left as it is (its part of the segment is dead at once), so that redelivery does
        nothing. Raises AccountsGone. Over quota is no hindrance: the message was promised. The sender of an outbound part with a
        ``long_token`` is stored; where its domain has too many new ones, the part leaves under the null reverse-path instead. An
        outbound part in the state HELD opens an expansion (``ports.expansions``). Returns the number of entries made.
        """
        ...

    async def probe(self) -> None:
        """A cheap real query that also checks the schema version. Raises Unavailable."""
        ...
