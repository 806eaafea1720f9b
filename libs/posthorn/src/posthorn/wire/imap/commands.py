"""Commands of IMAP as the client wrote them, frozen (RFC 9051 §6 and the extensions of issue 14).

Names of mailboxes are in normal form (``wire.imap.mailbox_names``); numbers are within 32 bits, or
63 for sizes and mod-sequences. APPEND and REPLACE are events of the machine, since their messages
come in pieces.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from posthorn.wire.imap.fetch_items import FetchItem
from posthorn.wire.imap.search_keys import SearchKey
from posthorn.wire.imap.sequence_set import SequenceSet


@dataclass(frozen=True, slots=True)
class Capability:
    """CAPABILITY."""


@dataclass(frozen=True, slots=True)
class Noop:
    """NOOP."""


@dataclass(frozen=True, slots=True)
class Logout:
    """LOGOUT."""


@dataclass(frozen=True, slots=True)
class Id:
    """ID (RFC 2971)."""

    fields: tuple[tuple[str, str | None], ...] = ()
    """Names and values of the client; never a reason to decide anything."""


@dataclass(frozen=True, slots=True)
class StartTls:
    """STARTTLS."""


@dataclass(frozen=True, slots=True)
class Authenticate:
    """AUTHENTICATE (RFC 9051 §6.2.2, SASL-IR)."""

    mechanism: str
    """In upper case."""
    initial: bytes | None = field(default=None, repr=False)
    """The initial response, decoded; None when there is none."""


@dataclass(frozen=True, slots=True)
class Login:
    """LOGIN. Bytes that are not UTF-8 are lone surrogates, which no account has."""

    name: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Enable:
    """ENABLE (RFC 9051 §6.3.1)."""

    names: tuple[str, ...]
    """In upper case."""


@dataclass(frozen=True, slots=True)
class Qresync:
    """What the client knows of a mailbox (RFC 7162 §3.2.5)."""

    uidvalidity: int
    modseq: int
    known: SequenceSet | None = None
    """UIDs it knows."""
    numbers: SequenceSet | None = None
    """Numbers that belong to ``uids``; both or none."""
    uids: SequenceSet | None = None


@dataclass(frozen=True, slots=True)
class Select:
    """SELECT or EXAMINE."""

    mailbox: str
    read_only: bool = False
    condstore: bool = False
    qresync: Qresync | None = None


@dataclass(frozen=True, slots=True)
class Create:
    """CREATE, with the special uses to give (RFC 6154 §3)."""

    mailbox: str
    special_uses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Delete:
    """DELETE."""

    mailbox: str


@dataclass(frozen=True, slots=True)
class Rename:
    """RENAME."""

    mailbox: str
    to: str


@dataclass(frozen=True, slots=True)
class Subscribe:
    """SUBSCRIBE."""

    mailbox: str


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """UNSUBSCRIBE."""

    mailbox: str


@dataclass(frozen=True, slots=True)
class List:
    """LIST (RFC 5258, RFC 5819, RFC 6154)."""

    reference: str
    patterns: tuple[str, ...]
    """One that is empty requests the delimiter."""
    selection: frozenset[str] = frozenset()
    """SUBSCRIBED, REMOTE, RECURSIVEMATCH, SPECIAL-USE."""
    returns: frozenset[str] = frozenset()
    """SUBSCRIBED, CHILDREN, SPECIAL-USE."""
    status: tuple[str, ...] = ()
    """Items of STATUS to return with each mailbox."""
    is_extended: bool = False
    """Whether the command has the form of LIST-EXTENDED."""


@dataclass(frozen=True, slots=True)
class Lsub:
    """LSUB (RFC 3501 §6.3.9)."""

    reference: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Namespace:
    """NAMESPACE."""


@dataclass(frozen=True, slots=True)
class Status:
    """STATUS."""

    mailbox: str
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GetQuota:
    """GETQUOTA (RFC 9208 §4.1.1)."""

    root: str


@dataclass(frozen=True, slots=True)
class GetQuotaRoot:
    """GETQUOTAROOT (RFC 9208 §4.1.2)."""

    mailbox: str


@dataclass(frozen=True, slots=True)
class Idle:
    """IDLE; the machine goes on with Done."""


@dataclass(frozen=True, slots=True)
class Done:
    """DONE, the end of IDLE; answer under the tag of IDLE."""


@dataclass(frozen=True, slots=True)
class Compress:
    """COMPRESS DEFLATE (RFC 4978)."""


@dataclass(frozen=True, slots=True)
class Check:
    """CHECK (RFC 3501 §6.4.1)."""


@dataclass(frozen=True, slots=True)
class Close:
    """CLOSE."""


@dataclass(frozen=True, slots=True)
class Unselect:
    """UNSELECT."""


@dataclass(frozen=True, slots=True)
class Expunge:
    """EXPUNGE, or UID EXPUNGE with its set."""

    uids: SequenceSet | None = None


@dataclass(frozen=True, slots=True)
class Partial:
    """A part of a result (RFC 9394): positions from 1, or from -1 for the end, both included."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Search:
    """SEARCH or UID SEARCH."""

    key: SearchKey
    returns: frozenset[str] | None = None
    """MIN, MAX, ALL, COUNT, SAVE; None without RETURN, when rev1 answers with SEARCH."""
    partial: Partial | None = None
    by_uid: bool = False
    has_unknown_charset: bool = False
    """Whether the answer is NO [BADCHARSET], which empties the set ``$`` that SAVE would have
    filled (RFC 5182 §2.1); the key is nothing then."""


@dataclass(frozen=True, slots=True)
class Sort:
    """SORT or UID SORT (RFC 5256, RFC 5267)."""

    criteria: tuple[tuple[str, bool], ...]
    """Keys in order, each with whether it is reversed."""
    key: SearchKey
    returns: frozenset[str] | None = None
    partial: Partial | None = None
    by_uid: bool = False


@dataclass(frozen=True, slots=True)
class Thread:
    """THREAD or UID THREAD (RFC 5256)."""

    algorithm: str
    key: SearchKey
    by_uid: bool = False


@dataclass(frozen=True, slots=True)
class UidBatches:
    """UIDBATCHES (RFC 9869): batches of so many UIDs, optionally from one batch to another."""

    size: int
    first: int = 1
    last: int | None = None


@dataclass(frozen=True, slots=True)
class Fetch:
    """FETCH or UID FETCH."""

    messages: SequenceSet
    items: tuple[FetchItem, ...]
    changed_since: int | None = None
    vanished: bool = False
    partial: Partial | None = None
    by_uid: bool = False


@dataclass(frozen=True, slots=True)
class Store:
    """STORE or UID STORE."""

    messages: SequenceSet
    action: str
    """``+`` adds, ``-`` removes, empty replaces."""
    flags: tuple[str, ...]
    is_silent: bool = False
    unchanged_since: int | None = None
    by_uid: bool = False


@dataclass(frozen=True, slots=True)
class Copy:
    """COPY or UID COPY."""

    messages: SequenceSet
    mailbox: str
    by_uid: bool = False


@dataclass(frozen=True, slots=True)
class Move:
    """MOVE or UID MOVE."""

    messages: SequenceSet
    mailbox: str
    by_uid: bool = False


@dataclass(frozen=True, slots=True)
class NotifyGroup:
    """What is to be told of some mailboxes (RFC 5465 §3.1, §6)."""

    scope: str
    """SELECTED, SELECTED-DELAYED, INBOXES, PERSONAL, SUBSCRIBED, SUBTREE or MAILBOXES."""
    events: frozenset[str]
    """MessageNew, MessageExpunge, FlagChange, MailboxName, SubscriptionChange; empty for NONE."""
    mailboxes: tuple[str, ...] = ()
    """Of SUBTREE and MAILBOXES."""
    items: tuple[FetchItem, ...] = ()
    """What is sent of new messages of the selected mailbox."""


@dataclass(frozen=True, slots=True)
class Notify:
    """NOTIFY (RFC 5465)."""

    groups: tuple[NotifyGroup, ...] = ()
    """None with NOTIFY NONE."""
    status: bool = False
    """Whether the state of the mailboxes is told at once."""


type Command = (
    Capability | Noop | Logout | Id | StartTls | Authenticate | Login | Enable | Select | Create
    | Delete | Rename | Subscribe | Unsubscribe | List | Lsub | Namespace | Status | GetQuota
    | GetQuotaRoot | Idle | Done | Compress | Check | Close | Unselect | Expunge | Search | Sort
    | Thread | UidBatches | Fetch | Store | Copy | Move | Notify
)  # fmt: skip
"""Commands that are complete when the session gets them."""
