"""Keys of SEARCH as a tree, frozen (RFC 9051 §6.4.4, RFC 5032, RFC 7162, RFC 8514, RFC 8474)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import Enum, StrEnum

from posthorn.wire.imap.sequence_set import SequenceSet


class Compare(StrEnum):
    """How a date or a size compares with that of the key."""

    BEFORE = "before"
    ON = "on"
    SINCE = "since"
    """On the day or later."""
    LARGER = "larger"
    SMALLER = "smaller"


class Day(Enum):
    """Which date of a message is meant; all without time and time zone."""

    INTERNAL = "internal"
    SENT = "sent"
    """Of the Date field."""
    SAVED = "saved"


@dataclass(frozen=True, slots=True)
class All:
    """ALL: every message."""


@dataclass(frozen=True, slots=True)
class And:
    """Messages that match every key."""

    keys: tuple[SearchKey, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Messages that match one of two keys."""

    left: SearchKey
    right: SearchKey


@dataclass(frozen=True, slots=True)
class Not:
    """Messages that do not match."""

    key: SearchKey


@dataclass(frozen=True, slots=True)
class Flag:
    """Messages with a flag or keyword. ``\\Recent`` is on no message here."""

    flag: str


@dataclass(frozen=True, slots=True)
class Header:
    """Messages with a field that contains a text, in any case; an empty text: with the field."""

    name: str
    """In lower case."""
    text: str


@dataclass(frozen=True, slots=True)
class Body:
    """Messages whose body contains a text."""

    text: str


@dataclass(frozen=True, slots=True)
class Text:
    """Messages whose header or body contains a text."""

    text: str


@dataclass(frozen=True, slots=True)
class Size:
    """LARGER or SMALLER than so many bytes."""

    compare: Compare
    size_bytes: int


@dataclass(frozen=True, slots=True)
class OnDay:
    """BEFORE, ON, SINCE and their forms for other dates."""

    day: Day
    compare: Compare
    date: date


@dataclass(frozen=True, slots=True)
class SaveDateSupported:
    """SAVEDATESUPPORTED (RFC 8514 §4.3): every message of a mailbox that keeps save dates."""


@dataclass(frozen=True, slots=True)
class Within:
    """YOUNGER or OLDER than so many seconds (RFC 5032)."""

    seconds: int
    is_older: bool


@dataclass(frozen=True, slots=True)
class Numbers:
    """Messages by number."""

    messages: SequenceSet


@dataclass(frozen=True, slots=True)
class Uids:
    """Messages by UID."""

    messages: SequenceSet


@dataclass(frozen=True, slots=True)
class ModSeq:
    """Messages changed at this mod-sequence or later (RFC 7162 §3.1.5)."""

    modseq: int


@dataclass(frozen=True, slots=True)
class EmailId:
    """EMAILID (RFC 8474)."""

    id: str


@dataclass(frozen=True, slots=True)
class ThreadId:
    """THREADID (RFC 8474)."""

    id: str


type SearchKey = (
    All | And | Or | Not | Flag | Header | Body | Text | Size | OnDay | SaveDateSupported | Within
    | Numbers | Uids | ModSeq | EmailId | ThreadId
)  # fmt: skip
"""A key, or keys combined."""


def mentions_modseq(key: SearchKey) -> bool:
    """Return whether MODSEQ is among the keys: it enables CONDSTORE (RFC 7162 §3.1)."""
    match key:
        case ModSeq():
            return True
        case And(keys):
            return any(mentions_modseq(each) for each in keys)
        case Or(left, right):
            return mentions_modseq(left) or mentions_modseq(right)
        case Not(inner):
            return mentions_modseq(inner)
        case _:
            return False


def is_metadata(key: SearchKey) -> bool:
    """Return whether a key asks for nothing of a message's content and for no message number, so
    that the store alone can answer it. The set ``$`` must have been replaced before."""
    match key:
        case And(keys):
            return all(is_metadata(each) for each in keys)
        case Or(left, right):
            return is_metadata(left) and is_metadata(right)
        case Not(inner):
            return is_metadata(inner)
        case Header() | Body() | Text() | Numbers():
            return False
        case OnDay(day):
            return day is not Day.SENT
        case Uids(messages):
            return not messages.is_saved
        case _:
            return True
