"""The messages of one mailbox, as an IMAP connection sees and changes them.

Rules:

- Every method names account and mailbox id. A mailbox that is gone raises MailboxGone.
- Every change adds one to the mailbox's modseq, keeps its counters and writes the change log in one
  transaction, under the lock of the account's row (ADR 33). It is hinted at after the commit
  (``ports.mailbox_hints``) by the caller.
- Every method raises Unavailable for faults of the store. After one from a method that changes
  something the change may all the same have happened: the connection must end.
- UIDs are from 1 to 2^32-1. A caller hands over at most ``PAGE`` UIDs at once, unless a method says
  otherwise, so that no statement holds the account for long.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Protocol
from uuid import UUID

from posthorn.model.blob_range import BodyLocation
from posthorn.wire.imap.search_keys import SearchKey

PAGE = 5000
"""Most UIDs of one call."""
SEEN, ANSWERED, FLAGGED, DELETED, DRAFT = 1, 2, 4, 8, 16
"""Bits of ``flags``."""
MOST_KEYWORDS = 200
"""Most different keywords of a mailbox; beyond, STORE and APPEND are refused (LIMIT)."""
MOST_KEYWORD_BYTES = 8 * 1024
"""Most bytes of all of them: each message may have every one."""

type UidRange = tuple[int, int]
"""First and last UID, both included."""


class MailboxGone(Exception):
    """The mailbox was deleted."""


class NoRoom(Exception):
    """The account's quota has no room: OVERQUOTA. Nothing was changed."""


class TooManyKeywords(Exception):
    """The mailbox would have more than ``MOST_KEYWORDS`` keywords, or more than
    ``MOST_KEYWORD_BYTES`` of them: LIMIT. Nothing was changed."""


class NoUids(Exception):
    """The mailbox has given nearly all UIDs, which end at 2^32-1: LIMIT. Nothing was changed."""


class ChangeKind(IntEnum):
    """What a row of the change log tells of its UIDs."""

    ADDED = 0
    CHANGED = 1
    """Flags or keywords."""
    REMOVED = 2


@dataclass(frozen=True, slots=True)
class Opened:
    """A mailbox at one moment, in one statement."""

    name: str
    role: str | None
    uidvalidity: int
    uidnext: int
    modseq: int
    keywords: tuple[str, ...]
    """Every keyword that a message of it may have, in order of first use."""
    uids: array[int]
    """``array('I')``, ascending."""
    unseen: int
    first_unseen: int | None
    """UID of the first message without ``\\Seen``."""


@dataclass(frozen=True, slots=True)
class EntryFlags:
    """Flags of a message."""

    uid: int
    flags: int
    keywords: tuple[str, ...]
    modseq: int


@dataclass(frozen=True, slots=True)
class FlagColumns:
    """Flags of messages as columns of the same length, ascending by UID: thousands of messages
    without an object for each."""

    uids: array[int]
    """``array('I')``."""
    flags: array[int]
    """``array('I')``."""
    modseqs: array[int]
    """``array('Q')``."""
    keywords: Mapping[int, tuple[str, ...]]
    """By UID, of those messages that have some."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes of a mailbox since a modseq, read in one statement."""

    modseq: int
    """Up to which this tells everything."""
    uidnext: int
    keywords: tuple[str, ...]
    added: Sequence[int]
    """UIDs that came and are still there, ascending."""
    changed: Sequence[EntryFlags]
    """Present flags of messages that are there and whose flags changed, or that came."""
    removed: Sequence[UidRange]
    """UIDs that were removed, ascending; some may never have been seen by the caller."""


@dataclass(frozen=True, slots=True)
class EntryRow:
    """What is known of a message without its content."""

    uid: int
    message: UUID
    size: int
    """Bytes of BODY[]."""
    flags: int
    keywords: tuple[str, ...]
    internal_date: datetime
    modseq: int
    saved_at: datetime | None


@dataclass(frozen=True, slots=True)
class Content:
    """Where a message's content is, and what is kept of it beside the body: of each at most
    ``model.stored_header.LONGEST_KEPT_BYTES``, so that hundreds take little memory."""

    location: BodyLocation
    kept_header: Callable[[], bytes | None] | None
    """Unpacks the header, which may be far longer; None: not kept, read it from the body."""
    envelope: bytes | None
    """As ``wire.imap.structure`` formats it, not in UTF-8 mode; None: not kept."""
    structure: bytes | None
    """As ``wire.message.mime_encoding`` encodes it; None: not kept."""

    @property
    def header(self) -> bytes | None:
        """The header up to the empty line, included; None where it is not kept, or damaged."""
        return None if self.kept_header is None else self.kept_header()


@dataclass(frozen=True, slots=True)
class Kept:
    """What was made of a message, to be kept."""

    message: UUID
    header: bytes | None = None
    envelope: bytes | None = None
    structure: bytes | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """Result of a STORE."""

    modseq: int
    changed: Sequence[EntryFlags]
    """Messages that exist, with their flags now, whether they differ from before or not."""
    failed: Sequence[int]
    """UIDs that exist and were changed after ``unchanged_since``: MODIFIED."""
    advanced: bool = False
    """Whether ``modseq`` is that of this change; False: nothing differed from before."""


@dataclass(frozen=True, slots=True)
class Copied:
    """Result of a COPY or MOVE."""

    uidvalidity: int
    """Of the target."""
    target_modseq: int
    source_modseq: int | None
    """After a MOVE."""
    sources: Sequence[int]
    """UIDs copied, ascending; those that are gone are left out."""
    copies: Sequence[int]
    """Their UIDs in the target, in the same order."""
    target: int = 0
    """Id of the target; 0: not known."""


@dataclass(frozen=True, slots=True)
class Expunged:
    """Result of an expunge."""

    modseq: int
    uids: Sequence[int]
    """Removed, ascending."""


class MailboxView(Protocol):
    """See the rules above."""

    async def open(self, account: int, name: str) -> tuple[int, Opened] | None:
        """Return the id of a mailbox and its state; None when there is none of this name. Any
        number of UIDs."""
        ...

    async def reopen(self, account: int, mailbox: int) -> Opened:
        """Return the state of a mailbox by its id."""
        ...

    async def changes(self, account: int, mailbox: int, since: int) -> Changes | None:
        """Return the changes of the mailbox since modseq ``since``; None where the change log does
        not go back so far, or there is too much of it: compare with ``reopen``."""
        ...

    async def moved_on(
        self, asked: Collection[tuple[int, int, int]]
    ) -> Mapping[tuple[int, int], int | None]:
        """Of (account, mailbox, modseq) return those whose modseq is another one now, with it;
        None: the mailbox is gone. Any number; one statement for each ``PAGE`` of them."""
        ...

    async def flags(
        self, account: int, mailbox: int, ranges: Sequence[UidRange], changed_since: int = 0
    ) -> Sequence[EntryFlags]:
        """Return flags by UID ranges, ascending, of messages with a higher modseq than
        ``changed_since``. At most ``PAGE`` UIDs are expected in the ranges."""
        ...

    async def flag_columns(
        self, account: int, mailbox: int, ranges: Sequence[UidRange], changed_since: int = 0
    ) -> FlagColumns:
        """As ``flags``, by columns; the ranges are ascending and disjoint."""
        ...

    async def rows(
        self, account: int, mailbox: int, ranges: Sequence[UidRange], changed_since: int = 0
    ) -> Sequence[EntryRow]:
        """As ``flags``, with everything known of the messages but their content."""
        ...

    async def contents(
        self, account: int, mailbox: int, uids: Sequence[int], *, header: bool, forms: bool
    ) -> Mapping[int, Content]:
        """Return content by UID, with header (``header``) and envelope and structure (``forms``)
        where they are kept. A missing UID does not exist any more. At most 500."""
        ...

    async def keep(self, made: Sequence[Kept]) -> None:
        """Keep what was made of messages, for next time; those that are there already stay."""
        ...

    async def store(
        self,
        account: int,
        mailbox: int,
        uids: Sequence[int],
        action: str,
        flags: int,
        keywords: Sequence[str],
        unchanged_since: int | None = None,
    ) -> Stored:
        """Change flags: ``action`` is ``+``, ``-`` or empty to replace. Raises TooManyKeywords."""
        ...

    async def copy(
        self, account: int, mailbox: int, uids: Sequence[int], target: str, *, move: bool = False
    ) -> Copied | None:
        """Copy messages to the mailbox ``target``, or move them, in one transaction, all that are
        there; any number of UIDs. None when there is no such target. What goes into or out of
        Junk, copies too, is classified (``ports.classifications``). Raises NoRoom,
        TooManyKeywords, NoUids."""
        ...

    async def expunge(
        self, account: int, mailbox: int, ranges: Sequence[UidRange] | None
    ) -> Expunged:
        """Remove messages with ``\\Deleted``, all or those in the ranges; any number, some thousand
        in each transaction."""
        ...

    async def search(self, account: int, mailbox: int, key: SearchKey) -> array[int]:
        """Return the UIDs, ascending, that match a key that has no Text, Body, Header, SentDate
        or Numbers in it (``is_metadata``). Any number of UIDs; one statement."""
        ...
