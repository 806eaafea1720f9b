"""Transfers: export and import of an account's mail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from posthorn.model.blob_range import BodyLocation
from posthorn.ports.segments import Segment


@dataclass(frozen=True, slots=True)
class Contents:
    """Totals at the start of an export."""

    account: int
    messages: int
    octets: int
    mailboxes: Mapping[int, str]
    """Names by id: all mailboxes of the account, or the requested one."""


@dataclass(frozen=True, slots=True)
class Exported:
    """An entry of a mailbox with the location of its body."""

    mailbox: int
    uid: int
    flags: int
    received_at: datetime
    reverse_path: str
    location: BodyLocation
    keywords: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a message of an import belongs."""

    mailbox: str
    flags: int
    received_at: float
    """Seconds since the epoch."""
    keywords: tuple[str, ...] = ()
    """Those beyond the most that a mailbox may have are left out."""
    unique_id: str = ""
    """Unique id (RFC 1939 §7) that POP3 shows in place of its own; empty: none. It counts in the
    INBOX alone, and where no other message has it or could get it."""


@dataclass(frozen=True, slots=True)
class Importing:
    """An import in progress."""

    account: int
    holder: UUID
    address: str
    tenant: UUID


class ImportLost(Exception):
    """Another import has taken over, or the account was deleted: nothing was written."""


class Transfers(Protocol):
    """``tenant`` is the caller's, as in ``ports.administration``. Every method raises
    Unavailable."""

    async def contents(self, tenant: UUID | None, address: str, mailbox: str | None) -> Contents:
        """Count the entries to export. Raises NotFound: no such account or mailbox."""
        ...

    async def entries(
        self, contents: Contents, after: tuple[int, int], limit: int, ahead: bool = True
    ) -> Sequence[Exported]:
        """List entries by (mailbox, uid), those after ``after``; without ``ahead``, only that
        one, if it still exists."""
        ...

    async def begin(
        self, tenant: UUID | None, address: str, holder: UUID, details: Mapping[str, object]
    ) -> Importing:
        """Become the only import into this account, and record it in the audit log. Raises
        NotFound; Conflict while another runs."""
        ...

    async def stay(self, importing: Importing) -> None:
        """Renew the lease. Raises ImportLost."""
        ...

    async def finish(self, importing: Importing, counts: Mapping[str, int]) -> None:
        """Release the lease, and record the counts in the audit log."""
        ...

    async def digests(
        self, importing: Importing, after: tuple[int, int], limit: int
    ) -> Sequence[tuple[int, int, bytes]]:
        """List mailbox, uid and SHA-256 of the account's entries, those after (mailbox, uid)."""
        ...

    async def insert(
        self, importing: Importing, segment: Segment, entries: Sequence[Entry]
    ) -> set[UUID]:
        """Write the segment's messages, an entry for each, in one transaction; return the ids of
        those for which the quota has room: a message without room is left out, and smaller later
        ones may still fit. Missing mailboxes are created. Messages written already count as
        written. Raises ImportLost, Conflict when there would be too many mailboxes, and what
        ``Mailboxes.deliver`` raises for a message that cannot be written."""
        ...

    async def adopt(self, importing: Importing, unique_ids: Mapping[bytes, str]) -> None:
        """Assign unique ids, by SHA-256, to messages that are in the INBOX already and have none, if
        nobody has read the account by POP3: what POP3 has shown does not change (RFC 1939 §7).
        Raises ImportLost."""
        ...
