"""SEARCH keys cut in what the store answers and what the content of messages answers (RFC 9051
§6.4.4).

Theory of operation. ``split`` makes of a key one for the store, which every message that matches
fulfils, and the rest that must be decided by looking at each of these messages. In the rest, what
the store can answer by itself (``metadata_within``) is replaced by its answer (``Among``). Then
``decide`` says for a message whether it matches: with its header alone if that is enough.

The texts of ``Header``, ``Body`` and ``Text`` must be folded (``prepared``) before ``decide``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from posthorn.wire.imap.search_keys import (
    All,
    And,
    Body,
    Compare,
    Header,
    Not,
    Numbers,
    OnDay,
    Or,
    SearchKey,
    Text,
    Uids,
    is_metadata,
)
from posthorn.wire.imap.sequence_set import Range, SequenceSet
from posthorn.wire.message.date_field import sent_at
from posthorn.wire.message.searchable import Found, SearchedHeader, field_values, fold

NONE: SearchKey = Not(All())
"""No message."""


@dataclass(frozen=True, slots=True)
class Among:
    """Messages that the store has found."""

    uids: Collection[int]


@dataclass(frozen=True, slots=True)
class Every:
    """Messages that match every test, the cheapest first."""

    tests: tuple[Test, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """Messages that match one of the tests, the cheapest first."""

    tests: tuple[Test, ...]


@dataclass(frozen=True, slots=True)
class Other:
    """Messages that do not match."""

    test: Test


type Test = Every | Some | Other | Among | Header | Body | Text | OnDay
"""What is decided for each message."""


def resolved(
    key: SearchKey, numbered: Callable[[SequenceSet], list[Range]], saved: list[Range]
) -> SearchKey:
    """Return a key with message numbers, and the set ``$`` (``saved``: its UIDs), replaced by
    UIDs."""
    match key:
        case And(keys):
            return And(tuple([resolved(each, numbered, saved) for each in keys]))
        case Or(left, right):
            return Or(resolved(left, numbered, saved), resolved(right, numbered, saved))
        case Not(inner):
            return Not(resolved(inner, numbered, saved))
        case Numbers(messages) | Uids(messages) if messages.is_saved:
            return _uids(saved)
        case Numbers(messages):
            return _uids(numbered(messages))
        case _:
            return key


def split(key: SearchKey) -> tuple[SearchKey, SearchKey | None]:
    """Return the key for the store, and the rest that must be decided for each message that the
    store finds; None: nothing."""
    if is_metadata(key):
        return key, None
    if isinstance(key, And):
        parts = [split(each) for each in _flat(key)]
        store = [part for part, _ in parts if not isinstance(part, All)]
        rest = [part for _, part in parts if part is not None]
        return _and(store), _and(rest) if rest else None
    return _relaxed(key, least=False), key


def metadata_within(key: SearchKey) -> Iterator[SearchKey]:
    """Return the largest parts of a key that the store can answer, in the order of ``prepared``."""
    if is_metadata(key):
        yield key
        return
    match key:
        case And(keys):
            store, rest = _parted(keys)
            if store:
                yield _and(store)
            for each in rest:
                yield from metadata_within(each)
        case Or(left, right):
            yield from metadata_within(left)
            yield from metadata_within(right)
        case Not(inner):
            yield from metadata_within(inner)
        case _:
            pass


def prepared(key: SearchKey, answers: Iterator[Collection[int]]) -> Test:
    """Return what ``decide`` takes; ``answers``: the UIDs for each key of ``metadata_within``."""
    if is_metadata(key):
        return Among(next(answers))
    match key:
        case And(keys):
            store, rest = _parted(keys)
            tests: list[Test] = [Among(next(answers))] if store else []
            tests += [prepared(each, answers) for each in rest]
            return Every(tuple(sorted(tests, key=_cost)))
        case Or(left, right):
            return Some(
                tuple(sorted([prepared(left, answers), prepared(right, answers)], key=_cost))
            )
        case Not(inner):
            return Other(prepared(inner, answers))
        case Header(name, text):
            return Header(name, fold(text))
        case Body(text):
            return Body(fold(text))
        case Text(text):
            return Text(fold(text))
        case OnDay():
            return key
        case _:
            raise ValueError(f"{type(key).__name__} was not resolved")


def texts_of(test: Test) -> tuple[frozenset[str], frozenset[str]]:
    """Return the texts that are looked for in bodies, by BODY and by TEXT."""
    body: set[str] = set()
    text: set[str] = set()
    stack = [test]
    while stack:
        match stack.pop():
            case Every(tests) | Some(tests):
                stack += tests
            case Other(inner):
                stack.append(inner)
            case Body(wanted):
                body.add(wanted)
            case Text(wanted):
                text.add(wanted)
            case _:
                pass
    return frozenset(body), frozenset(text)


def fields_of(test: Test) -> int:
    """Return how many texts are looked for in fields of the header."""
    match test:
        case Every(tests) | Some(tests):
            return sum(map(fields_of, tests))
        case Other(inner):
            return fields_of(inner)
        case _:
            return int(isinstance(test, Header))


def decide(test: Test, uid: int, header: SearchedHeader, found: Found | None) -> bool | None:
    """Return whether a message matches; None: that depends on its body. ``found``: what its body
    contains of ``texts_of``, None while it has not been looked at."""
    match test:
        case Header(name, text):
            return header.has(name, text)
        case Text(text):
            if found is not None and text in found.text:
                return True
            if text in header.text:
                return True
            return None if found is None else False
        case Body(text):
            return None if found is None else text in found.body
        case Among(uids):
            return uid in uids
        case Every(tests):
            return _decide_some(tests, uid, header, found, ends_with=False)
        case Some(tests):
            return _decide_some(tests, uid, header, found, ends_with=True)
        case Other(inner):
            outcome = decide(inner, uid, header, found)
            return None if outcome is None else not outcome
        case OnDay(_, compare, day):
            return _is_sent(header, compare, day)


def _decide_some(
    tests: tuple[Test, ...],
    uid: int,
    header: SearchedHeader,
    found: Found | None,
    *,
    ends_with: bool,
) -> bool | None:
    """Decide tests until one has the outcome that decides all of them."""
    outcome: bool | None = not ends_with
    for test in tests:
        one = decide(test, uid, header, found)
        if one is ends_with:
            return ends_with
        if one is None:
            outcome = None
    return outcome


def _is_sent(header: SearchedHeader, compare: Compare, day: date) -> bool:
    """Compare the day that the Date field names, without regard to time and zone. A message
    without a valid Date was sent on no day."""
    for value in field_values(header.octets, "date"):
        moment = sent_at(value)
        if moment is None:
            return False
        sent = moment.date()
        match compare:
            case Compare.BEFORE:
                return sent < day
            case Compare.ON:
                return sent == day
            case _:
                return sent >= day
    return False


def _cost(test: Test) -> int:
    match test:
        case Among():
            return 0
        case Header() | OnDay():
            return 1
        case Text():
            return 3
        case Body():
            return 4
        case Other(inner):
            return _cost(inner)
        case Every(tests) | Some(tests):
            return max(map(_cost, tests))


def _relaxed(key: SearchKey, *, least: bool) -> SearchKey:
    """Return a key for the store alone that every message fulfils that the key matches; ``least``:
    that only such messages fulfil."""
    if is_metadata(key):
        return key
    match key:
        case And(keys):
            parts = [_relaxed(each, least=least) for each in keys]
            return _and([each for each in parts if not isinstance(each, All)])
        case Or(left, right):
            halves = (_relaxed(left, least=least), _relaxed(right, least=least))
            return All() if any(isinstance(half, All) for half in halves) else Or(*halves)
        case Not(inner):
            opposite = _relaxed(inner, least=not least)
            return All() if opposite == NONE else Not(opposite)
        case _:
            return NONE if least else All()


def _flat(key: And) -> Iterator[SearchKey]:
    for each in key.keys:
        if isinstance(each, And):
            yield from _flat(each)
        else:
            yield each


def _parted(keys: tuple[SearchKey, ...]) -> tuple[list[SearchKey], list[SearchKey]]:
    store: list[SearchKey] = []
    rest: list[SearchKey] = []
    for each in keys:
        (store if is_metadata(each) else rest).append(each)
    return store, rest


def _and(keys: Sequence[SearchKey]) -> SearchKey:
    if not keys:
        return All()
    return keys[0] if len(keys) == 1 else And(tuple(keys))


def _uids(ranges: list[Range]) -> SearchKey:
    return Uids(SequenceSet(tuple(ranges))) if ranges else NONE
