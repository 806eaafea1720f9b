"""Threads of messages: ORDEREDSUBJECT and REFERENCES (RFC 5256 §3).

Theory of operation of REFERENCES. Messages and the message ids that they name are nodes; a node
without a message stands for one that is not among those searched. ``_link`` makes the tree by the
References fields (steps 1 and 2), ``_prune`` takes nodes without a message out (step 3), and
``_gather`` joins trees with the same base subject (step 5). Siblings are sorted by the date sent,
then by number (steps 4 and 6). Nothing is recursive: a thread may be as deep as it has messages.

Whether a link would make a loop is found by walking up from the parent. Trees that were never joined
need no walk; the walks of one call are bounded by ``MOST_STEPS``, beyond which links that need one
are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

MOST_REFERENCES = 1000
"""Message ids of one message that are looked at, the last ones."""
LONGEST_ID = 998
"""Characters of a message id; a line has no more (RFC 5322 §2.1.1). Longer ones are left out."""
MOST_STEPS = 5_000_000

_ID = re.compile(r"<([^<>]*)>")
_QUOTED = re.compile(r'\A"((?:[^"\\]|\\.)*+)"(?=@)')
_BLANKS = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Threaded:
    """A message to be put in a thread."""

    number: int
    """Number or UID in the answer; ascending in a sequence of them."""
    sent: float
    """When it was sent, as comparable seconds."""
    subject: str
    """Its base subject, folded."""
    is_reply: bool = False
    """Whether its subject is that of a reply or of a forwarded message."""
    message_id: str = ""
    references: tuple[str, ...] = ()


@dataclass(slots=True)
class Thread:
    """A message and the messages below it."""

    number: int
    """0: a message that is not among those searched; only at the top, with several below it."""
    below: list[Thread] = field(default_factory=list)


def message_ids(value: str) -> list[str]:
    """Return the message ids in a field, in a form in which equal ones are equal."""
    found = []
    for inner in _ID.findall(value):
        if len(inner) > LONGEST_ID:
            continue
        text = _BLANKS.sub("", _QUOTED.sub(r"\1", inner))
        if "@" in text:
            found.append(text)
    return found


def references(references_field: str, in_reply_to: str) -> tuple[str, ...]:
    """Return the ids that a message refers to, the nearest last (step 1)."""
    found = message_ids(references_field) or message_ids(in_reply_to)[:1]
    return tuple(found[-MOST_REFERENCES:])


def by_subject(messages: Sequence[Threaded]) -> list[Thread]:
    """Return the threads of ORDEREDSUBJECT: messages with one base subject, the first sent at the
    top and all others below it."""
    groups: dict[str, list[Threaded]] = {}
    for message in messages:
        groups.setdefault(message.subject, []).append(message)
    found = []
    for group in groups.values():
        group.sort(key=_when)
        found.append(group)
    found.sort(key=lambda group: _when(group[0]))
    return [
        Thread(first.number, [Thread(other.number) for other in others]) for first, *others in found
    ]


def by_references(messages: Sequence[Threaded]) -> list[Thread]:
    """Return the threads of REFERENCES."""
    return _References(messages).threads()


def format_threads(threads: Iterable[Thread]) -> Iterator[bytes]:
    """Yield each thread as in the reply THREAD (RFC 5256 §4)."""
    for thread in threads:
        pieces: list[bytes] = []
        # what is still to be written: a text, or a node that continues the list of its parent
        stack: list[bytes | Thread] = [b")", thread, b"("]
        while stack:
            item = stack.pop()
            if isinstance(item, bytes):
                pieces.append(item)
                continue
            if item.number:
                pieces.append(b"%d" % item.number)
            if len(item.below) == 1:
                pieces.append(b" ")
                stack.append(item.below[0])
            elif item.below:
                if item.number:
                    pieces.append(b" ")
                for below in reversed(item.below):
                    stack += (b")", below, b"(")
        yield b"".join(pieces)


def _when(message: Threaded) -> tuple[float, int]:
    return message.sent, message.number


class _References:
    def __init__(self, messages: Sequence[Threaded]) -> None:
        self._nodes: dict[str, int] = {}
        self._messages: list[Threaded | None] = []
        self._parents: list[int] = []  # -1: none
        self._sets: list[int] = []  # nodes of one set may be of one tree; of two, never
        self._steps = 0
        self._given = messages

    def threads(self) -> list[Thread]:
        for message in self._given:
            self._link(message)
        below: list[list[int]] = [[] for _ in self._parents]
        roots: list[int] = []
        for node, parent in enumerate(self._parents):
            (roots if parent < 0 else below[parent]).append(node)
        tops = self._prune(roots, below)
        self._below = below
        self._sort(tops)
        tops = self._gather(tops)
        return self._sorted_threads(tops)

    # steps 1 and 2

    def _node(self, message_id: str) -> int:
        node = self._nodes.get(message_id)
        if node is None:
            node = self._nodes[message_id] = self._new(None)
        return node

    def _new(self, message: Threaded | None) -> int:
        self._messages.append(message)
        self._parents.append(-1)
        self._sets.append(len(self._sets))
        return len(self._messages) - 1

    def _link(self, message: Threaded) -> None:
        node = self._node(message.message_id) if message.message_id else self._new(None)
        if self._messages[node] is not None:  # an id that another message has had already
            node = self._new(None)
        self._messages[node] = message
        previous = -1
        for reference in message.references:
            referred = self._node(reference)
            if previous >= 0 and self._parents[referred] < 0:
                self._join(previous, referred)
            previous = referred
        self._parents[node] = -1  # a field of another message may have been cut
        if previous >= 0:
            self._join(previous, node)

    def _join(self, parent: int, node: int) -> None:
        """Put a root below a parent, unless that makes a loop."""
        one, other = self._set_of(parent), self._set_of(node)
        if one == other and self._is_above(node, parent):
            return
        self._parents[node] = parent
        self._sets[other] = one

    def _set_of(self, node: int) -> int:
        sets = self._sets
        while sets[node] != node:
            sets[node] = node = sets[sets[node]]
        return node

    def _is_above(self, node: int, below: int) -> bool:
        while below >= 0:
            if below == node:
                return True
            below = self._parents[below]
            self._steps += 1
            if self._steps > MOST_STEPS:
                return True
        return False

    # step 3

    def _prune(self, roots: list[int], below: list[list[int]]) -> list[int]:
        """Take nodes without a message out; return the roots that are left."""
        order = list(roots)
        for node in order:  # grows: every node after its parent
            order += below[node]
        for node in reversed(order):
            kept: list[int] = []
            for child in below[node]:
                if self._messages[child] is None:
                    kept += below[child]
                else:
                    kept.append(child)
            below[node] = kept
        tops = []
        for root in roots:
            if self._messages[root] is not None or len(below[root]) > 1:
                tops.append(root)
            else:
                tops += below[root]
        return tops

    # steps 4 and 6

    def _when(self, node: int) -> tuple[float, int]:
        message = self._first(node)
        return message.sent, message.number

    def _first(self, node: int) -> Threaded:
        """Return the message of a node, or the first one below it."""
        message = self._messages[node] or self._messages[self._below[node][0]]
        assert message is not None, "a node without a message has messages below it"
        return message

    def _sort(self, tops: list[int]) -> None:
        """Sort what is below the roots without a message, then the roots."""
        for top in tops:
            if self._messages[top] is None:
                self._below[top].sort(key=self._when)
        tops.sort(key=self._when)

    def _sorted_threads(self, tops: list[int]) -> list[Thread]:
        order = list(tops)
        for node in order:
            order += self._below[node]
        made: dict[int, Thread] = {}
        for node in reversed(order):
            self._below[node].sort(key=self._when)
            message = self._messages[node]
            number = message.number if message else 0
            made[node] = Thread(number, [made.pop(child) for child in self._below[node]])
        tops.sort(key=self._when)
        return [made[top] for top in tops]

    # step 5

    def _gather(self, tops: list[int]) -> list[int]:
        table: dict[str, int] = {}
        for top in tops:
            subject = self._first(top).subject
            if not subject:
                continue
            held = table.get(subject)
            if held is None or self._is_better(top, held):
                table[subject] = top
        gone: set[int] = set()
        for top in list(tops):
            held = table.get(self._first(top).subject, top)
            if held == top:
                continue
            if self._messages[held] is None:
                self._below[held] += self._below[top] if self._messages[top] is None else [top]
                gone.add(top)
            elif self._is_reply(top) and not self._is_reply(held):
                self._below[held].append(top)
                gone.add(top)
            else:
                both = self._new(None)
                self._below.append([held, top])
                table[self._first(top).subject] = both
                tops.append(both)
                gone.update((held, top))
        return [top for top in tops if top not in gone]

    def _is_better(self, node: int, held: int) -> bool:
        if self._messages[held] is None:
            return False
        if self._messages[node] is None:
            return True
        return self._is_reply(held) and not self._is_reply(node)

    def _is_reply(self, node: int) -> bool:
        message = self._messages[node]
        return message is not None and message.is_reply
