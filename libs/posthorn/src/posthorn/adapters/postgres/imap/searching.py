"""SEARCH by what Postgres knows of a message: a key becomes a condition with bound parameters
(RFC 9051 §6.4.4, RFC 5032, RFC 7162 §3.1.5, RFC 8474, RFC 8514).

Rules:

- Every condition is true or false, never null: NOT turns it round.
- A day is one of UTC: messages carry no time zone here (RFC 9051 §6.4.4: "disregarding time and
  timezone").
- A message without a save date, stored before there was one, counts as saved at its internal date.
- ``*`` is the largest UID that is there. THREADID is NIL for every message, so none matches.
"""

from __future__ import annotations

import re
from typing import Any, Final
from uuid import UUID

from posthorn.adapters.postgres.imap.rows import UIDS, multirange
from posthorn.ports.mailbox_view import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN
from posthorn.wire.imap import search_keys as keys
from posthorn.wire.imap.search_keys import Compare, Day, SearchKey
from posthorn.wire.imap.sequence_set import LARGEST, STAR, SequenceSet, merge

DEEPEST = 100
"""Deepest nesting of keys: more than the grammar accepts (``wire.imap.grammar_search``)."""

_LARGEST = 2**63 - 1
_BITS: Final = {
    "\\seen": SEEN,
    "\\answered": ANSWERED,
    "\\flagged": FLAGGED,
    "\\deleted": DELETED,
    "\\draft": DRAFT,
}
_SAVED = "coalesce(e.saved_at, e.internal_date)"
_DAYS: Final = {Compare.BEFORE: "<", Compare.ON: "=", Compare.SINCE: ">="}
_SIZES: Final = {Compare.LARGER: ">", Compare.SMALLER: "<"}
_LARGEST_UID = "(SELECT max(uid) FROM mailbox_entries WHERE account_id = $1 AND mailbox_id = $2)"
# a keyword as the mailbox spells it
_KEYWORD = """
    coalesce(e.keywords && (
        SELECT array_agg(k) FROM mailboxes b CROSS JOIN unnest(b.keywords) AS k
         WHERE b.account_id = $1 AND b.mailbox_id = $2 AND lower(k) = {0}
    ), false)
"""
_EMAIL_ID = re.compile(r"[0-9a-f]{32}\Z|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_SEARCH = """
    SELECT (
        SELECT {uids}
          FROM (
              SELECT e.uid FROM mailbox_entries e
               WHERE e.account_id = $1 AND e.mailbox_id = $2 AND {condition} ORDER BY e.uid
          ) AS e
    ) FROM mailboxes WHERE account_id = $1 AND mailbox_id = $2
"""


def search_statement(key: SearchKey) -> tuple[str, list[Any]]:
    """Return the statement for a key, and its parameters from $3 on.

    It returns the UIDs as ``decode_uids`` reads them, and no row where there is no such mailbox.
    Raises ValueError for a key that is not ``is_metadata``, or nested too deeply.
    """
    compiler = _Compiler()
    condition = compiler.condition(key, 0)
    return _SEARCH.format(uids=UIDS, condition=condition), compiler.values


class _Compiler:
    """Makes conditions on an entry ``e``, and gathers the parameters."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def condition(self, key: SearchKey, depth: int) -> str:
        if depth > DEEPEST:
            raise ValueError("the keys are nested too deeply")
        match key:
            case keys.And(parts):
                found = [self.condition(part, depth + 1) for part in parts]
                return f"({' AND '.join(found)})" if found else "true"
            case keys.Or(left, right):
                return f"({self.condition(left, depth + 1)} OR {self.condition(right, depth + 1)})"
            case keys.Not(inner):
                return f"(NOT {self.condition(inner, depth + 1)})"
            case _:
                return self._leaf(key)

    def _leaf(self, key: SearchKey) -> str:
        match key:
            case keys.All() | keys.SaveDateSupported():
                return "true"
            case keys.Flag(flag):
                return self._flag(flag)
            case keys.Size(compare, size):
                return (
                    f"(e.size_crlf {_SIZES[compare]} {self._value(min(size, _LARGEST), 'bigint')})"
                )
            case keys.OnDay(Day.INTERNAL | Day.SAVED as day, compare, date):
                moment = "e.internal_date" if day is Day.INTERNAL else _SAVED
                wanted = self._value(date, "date")
                return f"(({moment} AT TIME ZONE 'UTC')::date {_DAYS[compare]} {wanted})"
            case keys.Within(seconds, is_older):
                ago = f"now() - make_interval(secs => {self._value(float(seconds), 'float8')})"
                return f"(e.internal_date {'<=' if is_older else '>='} {ago})"
            case keys.Uids(messages) if not messages.is_saved:
                return self._uids(messages)
            case keys.ModSeq(modseq):
                return f"(e.modseq >= {self._value(min(modseq, _LARGEST), 'bigint')})"
            case keys.EmailId(text):
                if not _EMAIL_ID.match(text):
                    return "false"
                return f"(e.message_id = {self._value(UUID(text), 'uuid')})"
            case keys.ThreadId():
                return "false"
            case _:
                raise ValueError(f"{type(key).__name__} needs more than metadata")

    def _flag(self, flag: str) -> str:
        if not flag.startswith("\\"):
            return _KEYWORD.format(self._value(flag.lower(), "text"))
        bit = _BITS.get(flag.lower())
        return "false" if bit is None else f"(e.flags & {bit} <> 0)"  # \Recent is on none

    def _uids(self, messages: SequenceSet) -> str:
        found = []
        plain = merge([_sorted(pair) for pair in messages.ranges if STAR not in pair])
        if plain:
            low = self._value(plain[0][0], "bigint")
            high = self._value(plain[-1][1], "bigint")
            held = self._value(multirange(plain), "int8multirange")
            # the bounds are for the index
            found.append(f"(e.uid >= {low} AND e.uid <= {high} AND {held} @> e.uid)")
        if (open_from := _open_from(messages)) is not None:
            low = self._value(open_from, "bigint")
            found.append(f"(e.uid >= least({low}, {_LARGEST_UID}))")
        return f"({' OR '.join(found)})" if found else "false"

    def _value(self, value: Any, kind: str) -> str:
        self.values.append(value)
        return f"${len(self.values) + 2}::{kind}"


def _sorted(pair: tuple[int, int]) -> tuple[int, int]:
    return min(pair), max(pair)


def _open_from(messages: SequenceSet) -> int | None:
    """Return where the ranges with ``*`` begin; None without one. ``*`` alone is the largest
    UID."""
    starts = [min(pair) for pair in messages.ranges if STAR in pair]
    return min(LARGEST, *starts) if starts else None
