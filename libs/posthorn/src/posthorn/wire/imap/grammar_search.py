"""Arguments of SEARCH, SORT and THREAD (RFC 9051 §6.4.4, RFC 5256, RFC 5032, RFC 7162, RFC 9394).

Keys are nested no deeper than ``DEEPEST``, so that neither the parser nor what walks the tree runs
out of stack.
"""

from __future__ import annotations

import re
from datetime import date

from posthorn.wire.imap.commands import Partial, Search, Sort, Thread
from posthorn.wire.imap.dates import parse_date
from posthorn.wire.imap.grammar_fetch import parse_partial
from posthorn.wire.imap.reader import LARGEST_MODSEQ, BadCommand, Reader
from posthorn.wire.imap.search_keys import (
    All,
    And,
    Body,
    Compare,
    Day,
    EmailId,
    Flag,
    Header,
    ModSeq,
    Not,
    Numbers,
    OnDay,
    Or,
    SaveDateSupported,
    SearchKey,
    Size,
    Text,
    ThreadId,
    Uids,
    Within,
)

DEEPEST = 100
"""Most levels of NOT, OR and brackets."""
MOST_KEYS = 1000
"""Most keys of one search: the time in which the store plans its statement grows with their square."""

_DATE = re.compile(rb"[0-9]{1,2}-[A-Za-z]{3}-[0-9]{4}")
_CHARSETS = {"UTF-8": "utf-8", "US-ASCII": "ascii"}
_RETURNS = frozenset({"MIN", "MAX", "ALL", "COUNT", "SAVE"})
_FLAGS = {
    "ANSWERED": "\\Answered",
    "DELETED": "\\Deleted",
    "DRAFT": "\\Draft",
    "FLAGGED": "\\Flagged",
    "SEEN": "\\Seen",
}
_FIXED: dict[str, SearchKey] = {
    "ALL": All(),
    "NEW": And((Flag("\\Recent"), Not(Flag("\\Seen")))),
    "OLD": Not(Flag("\\Recent")),
    "RECENT": Flag("\\Recent"),
    "SAVEDATESUPPORTED": SaveDateSupported(),
    **{name: Flag(flag) for name, flag in _FLAGS.items()},
    **{f"UN{name}": Not(Flag(flag)) for name, flag in _FLAGS.items()},
}
_HEADERS = frozenset({"BCC", "CC", "FROM", "SUBJECT", "TO"})
_DAYS = {
    prefix + compare.name: (day, compare)
    for prefix, day in (("", Day.INTERNAL), ("SENT", Day.SENT), ("SAVED", Day.SAVED))
    for compare in (Compare.BEFORE, Compare.ON, Compare.SINCE)
}
_SORT_KEYS = frozenset(
    {"ARRIVAL", "CC", "DATE", "FROM", "SIZE", "SUBJECT", "TO", "DISPLAYFROM", "DISPLAYTO"}
)
_ALGORITHMS = frozenset({"REFERENCES", "ORDEREDSUBJECT"})


class _UnknownCharset(BadCommand):
    pass


def parse_search(reader: Reader, *, by_uid: bool) -> Search:
    """Parse the arguments of SEARCH. Raises BadCommand."""
    returns, partial = _returns(reader)
    charset = "utf-8"
    start = reader.at
    if reader.take(b" ") and reader.peek() in b"Cc" and reader.word() == "CHARSET":
        if "UTF8=ACCEPT" in reader.enabled:  # RFC 6855 §3
            raise BadCommand("no CHARSET after ENABLE UTF8=ACCEPT")
        reader.space()
        try:
            charset = _charset(reader)
        except _UnknownCharset:
            if "SAVE" not in (returns or ()):
                raise
            return Search(All(), returns, partial, by_uid, has_unknown_charset=True)
    else:
        reader.at = start
    return Search(_keys(reader, charset), returns, partial, by_uid)


def parse_sort(reader: Reader, *, by_uid: bool) -> Sort:
    """Parse the arguments of SORT. Raises BadCommand."""
    returns, partial = _returns(reader)
    reader.space()
    criteria = tuple(reader.items(lambda: _criterion(reader)))
    reader.space()
    charset = _charset(reader)
    return Sort(criteria, _keys(reader, charset), returns, partial, by_uid)


def parse_thread(reader: Reader, *, by_uid: bool) -> Thread:
    """Parse the arguments of THREAD. Raises BadCommand."""
    reader.space()
    algorithm = reader.word()
    if algorithm not in _ALGORITHMS:
        raise BadCommand("unknown threading algorithm")
    reader.space()
    charset = _charset(reader)
    return Thread(algorithm, _keys(reader, charset), by_uid)


def _returns(reader: Reader) -> tuple[frozenset[str] | None, Partial | None]:
    if reader.text[reader.at : reader.at + 7].upper() != b" RETURN":
        return None, None
    reader.at += 7
    reader.space()
    reader.expect(b"(")
    found: set[str] = set()
    partial = None
    while not reader.take(b")"):
        if found or partial:
            reader.space()
        name = reader.word()
        if name == "PARTIAL":
            partial = parse_partial(reader)
        elif name in _RETURNS:
            found.add(name)
        else:
            raise BadCommand("unknown result of SEARCH")
    if partial is not None and "ALL" in found:  # RFC 9394 §3.1
        raise BadCommand("PARTIAL and ALL exclude each other")
    return frozenset(found) if found or partial else frozenset({"ALL"}), partial


def _charset(reader: Reader) -> str:
    name = reader.astring().decode("latin-1").upper()
    if name not in _CHARSETS:
        raise _UnknownCharset("[BADCHARSET (UTF-8 US-ASCII)] this charset is not supported", "NO")
    return _CHARSETS[name]


def _criterion(reader: Reader) -> tuple[str, bool]:
    name = reader.word()
    is_reversed = name == "REVERSE"
    if is_reversed:
        reader.space()
        name = reader.word()
    if name not in _SORT_KEYS:
        raise BadCommand("unknown sort key")
    return name, is_reversed


def _keys(reader: Reader, charset: str) -> SearchKey:
    keys = _Keys(reader, charset)
    reader.space()
    found = [keys.key(0)]
    while not reader.is_at_end():
        reader.space()
        found.append(keys.key(0))
    reader.end()
    return found[0] if len(found) == 1 else And(tuple(found))


class _Keys:
    def __init__(self, reader: Reader, charset: str) -> None:
        self._reader, self._charset = reader, charset
        self._count = 0

    def key(self, depth: int) -> SearchKey:
        reader = self._reader
        self._count += 1
        if depth > DEEPEST or self._count > MOST_KEYS:
            raise BadCommand("[LIMIT] the search is too complex", "NO")
        following = reader.peek()
        if following == b"(":
            keys = reader.items(lambda: self.key(depth + 1))
            return keys[0] if len(keys) == 1 else And(tuple(keys))
        if following and following in b"0123456789*$":
            return Numbers(reader.sequence_set())
        name = reader.word()
        if (fixed := _FIXED.get(name)) is not None:
            return fixed
        reader.space()
        match name:
            case "NOT":
                return Not(self.key(depth + 1))
            case "OR":
                left = self.key(depth + 1)
                reader.space()
                return Or(left, self.key(depth + 1))
            case "UID":
                return Uids(reader.sequence_set())
            case "MODSEQ":
                return self._modseq()
            case "KEYWORD" | "UNKEYWORD":
                flag = Flag(reader.word_as_written())
                return flag if name == "KEYWORD" else Not(flag)
            case "HEADER":
                field = self._text().lower()
                reader.space()
                return Header(field, self._text())
            case "BODY":
                return Body(self._text())
            case "TEXT":
                return Text(self._text())
            case "LARGER" | "SMALLER":
                return Size(Compare[name], reader.number(LARGEST_MODSEQ))
            case "YOUNGER" | "OLDER":
                return Within(reader.number(least=1), name == "OLDER")
            case "EMAILID":
                return EmailId(self._text())
            case "THREADID":
                return ThreadId(self._text())
            case _ if name in _HEADERS:
                return Header(name.lower(), self._text())
            case _ if name in _DAYS:
                return OnDay(*_DAYS[name], self._date())
            case _:
                raise BadCommand("unknown search key")

    def _text(self) -> str:
        octets = self._reader.astring()
        try:
            return octets.decode(self._charset)
        except UnicodeDecodeError:
            raise BadCommand("the text is not in the charset of the search") from None

    def _date(self) -> date:
        reader = self._reader
        if reader.peek() == b'"':
            text = reader.string()
        else:
            found = _DATE.match(reader.text, reader.at)
            if found is None:
                raise BadCommand("expected a date")
            text, reader.at = found[0], found.end()
        try:
            return parse_date(text)
        except ValueError:
            raise BadCommand("invalid date") from None

    def _modseq(self) -> ModSeq:
        """The optional name and type of an entry change nothing: one counter serves all flags."""
        reader = self._reader
        if reader.peek() == b'"':
            reader.string()
            reader.space()
            if reader.word() not in ("PRIV", "SHARED", "ALL"):
                raise BadCommand("expected priv, shared or all")
            reader.space()
        return ModSeq(reader.number(LARGEST_MODSEQ))
