"""The ledger: messages sent, acknowledged and found, and from that what is lost, duplicated or
corrupted.

Rules:

- A client that got no answer to the end of data, or a 4xx, cannot know whether the message was
  stored (RFC 1047) and sends it again: each time allows one more copy. A request with an
  Idempotency-Key allows none.
- At the external host a second copy is allowed when the host stored the first one without
  answering, or when a fault of the relay or its stores fell around its 250 (as with any mail
  server).
- Every copy read has a UID. Nothing read disappears unless a QUIT removed it, and what a QUIT
  removed with +OK does not reappear.
"""

from __future__ import annotations

import base64
import itertools
import random
import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

_NUMBER = re.compile(rb"^Message-ID: <(\d+)@chaos\.test>\r$", re.MULTILINE | re.IGNORECASE)
REFUSED = "no"
"""Local parts with this prefix are refused at the external host: the sender gets one DSN."""


@dataclass(slots=True)
class Entry:
    """A message that a client sends once."""

    number: int
    door: str
    """``smtp-in``, ``submission`` or ``api``."""
    sender: str
    size: int
    boxes: tuple[str, ...]
    """Mailboxes that must get it."""
    outside: tuple[str, ...] = ()
    """Addresses elsewhere that must get it."""
    acknowledged_at: float = 0.0
    """Monotonic seconds; 0: never."""
    uncertain: int = 0
    """Number of attempts without a definite answer."""

    @property
    def content(self) -> bytes:
        """Its content; the same each time."""
        return content(self.number, self.size, self.sender)

    def allows(self, copies: int, excused: int = 0) -> bool:
        """Return whether so many copies are allowed."""
        return copies <= bool(self.acknowledged_at) + self.uncertain + excused


def content(number: int, size: int, sender: str) -> bytes:
    """Make a message of about ``size`` bytes that hardly compresses, with lines that begin with
    dots."""
    head = (
        f"From: <{sender}>\r\nTo: undisclosed: ;\r\nDate: Mon, 02 Nov 2026 10:00:00 +0000\r\n"
        f"Subject: message {number}\r\nMessage-ID: <{number}@chaos.test>\r\n\r\n.\r\n..begun\r\n"
    ).encode()
    noise = base64.b64encode(random.Random(number).randbytes(max(0, size - len(head)) * 3 // 4))
    return head + b"".join(
        noise[start : start + 76] + b"\r\n" for start in range(0, len(noise), 76)
    )


def number_in(octets: bytes) -> int | None:
    """Return the number of this message, or of the message that it quotes."""
    found = _NUMBER.search(octets)
    return int(found[1]) if found else None


@dataclass(frozen=True, slots=True)
class Copy:
    """A message that the external host has stored."""

    number: int
    recipient: str
    at: float
    """Monotonic seconds."""
    answered: bool
    """The host answered 250 while the connection was open."""
    whole: bool
    """The content is what was sent."""


@dataclass(slots=True)
class Mailbox:
    """What clients know of a mailbox."""

    seen: dict[str, int] = field(default_factory=dict)
    """By UID, the number of the message, negative for a DSN about it."""
    removed: set[str] = field(default_factory=set)
    """UIDs that a QUIT with +OK removed."""
    doubtful: set[str] = field(default_factory=set)
    """UIDs whose QUIT was not answered."""
    present: set[str] = field(default_factory=set)
    """UIDs of the last session."""


@dataclass(slots=True)
class Verdict:
    """The faults found."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)

    @property
    def well(self) -> bool:
        """Whether there are none."""
        return not (self.lost or self.doubled or self.other)


class Ledger:
    """Shared by all clients."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.entries: dict[int, Entry] = {}
        self.mailboxes: dict[str, Mailbox] = defaultdict(Mailbox)
        self.wrong: list[str] = []
        """Faults found at once: permanent replies, content that differs."""
        self.successes: dict[str, list[float]] = defaultdict(list)
        """By part, the monotonic seconds at which it served a client."""

    def enter(
        self,
        door: str,
        sender: str,
        size: int,
        boxes: Sequence[str],
        outside: Callable[[int], Sequence[str]],
    ) -> Entry:
        """Add a message; ``outside`` makes the addresses elsewhere from its number."""
        with self.lock:
            number = len(self.entries) + 1
            entry = Entry(number, door, sender, size, tuple(boxes), tuple(outside(number)))
            self.entries[number] = entry
        return entry

    def served(self, part: str) -> None:
        """Record that the part served a client."""
        with self.lock:
            self.successes[part].append(time.monotonic())

    def acknowledged(self, entry: Entry) -> None:
        """Record that the message was acknowledged."""
        entry.acknowledged_at = time.monotonic()
        self.served(entry.door)

    def blame(self, what: str) -> None:
        """Record a fault that nothing excuses."""
        with self.lock:
            self.wrong.append(what)

    def read(self, address: str, uid: str, octets: bytes) -> None:
        """Record that a whole message was read in a mailbox."""
        number = number_in(octets)
        entry = self.entries.get(number or 0)
        notice = b"multipart/report" in octets[:4000]
        if entry is None:
            return self.blame(f"{address} holds a message that was not sent (UID {uid})")
        if not notice and not octets.endswith(entry.content):
            self.blame(f"{address} holds {entry.number} with other content (UID {uid})")
        with self.lock:
            self.mailboxes[address].seen[uid] = -entry.number if notice else entry.number
        return None

    def longest_pause(self, part: str, began: float, ended: float) -> float:
        """Return the longest time without a success, in seconds."""
        with self.lock:
            moments = [began, *(at for at in self.successes[part] if began <= at <= ended), ended]
        return max(later - earlier for earlier, later in itertools.pairwise(moments))

    def returned_after(self, part: str, moment: float) -> float:
        """Return the seconds from a moment to the next success."""
        with self.lock:
            return min(
                (at - moment for at in self.successes[part] if at >= moment), default=float("inf")
            )

    # ---- the end

    def judge(self, copies: Sequence[Copy], troubled: Callable[[float], bool]) -> Verdict:
        """Compare everything. ``troubled``: whether a fault of the relay fell around a moment."""
        verdict = Verdict(other=list(self.wrong))
        with self.lock:
            self._judge_mailboxes(verdict)
        self._judge_outside(verdict, copies, troubled)
        return verdict

    def _judge_mailboxes(self, verdict: Verdict) -> None:
        expected: dict[str, set[int]] = defaultdict(set)
        for entry in self.entries.values():
            for address in entry.boxes:
                expected[address].add(entry.number)
            if any(outside.startswith(REFUSED) for outside in entry.outside):
                expected[entry.sender].add(-entry.number)
        for address in {*expected, *self.mailboxes}:
            box = self.mailboxes[address]
            counts = Counter(box.seen.values())
            for number in {*expected[address], *counts}:
                entry, what = self.entries[abs(number)], f"{_name(number)} in {address}"
                if number not in expected[address]:
                    verdict.other.append(f"{what}: it was not sent there")
                elif entry.acknowledged_at and not counts[number]:
                    verdict.lost.append(what)
                elif not entry.allows(counts[number]):
                    verdict.doubled.append(f"{what}: {counts[number]} times")
            gone = box.seen.keys() - box.present - box.removed - box.doubtful
            verdict.lost += [
                f"{_name(box.seen[uid])} in {address}: it disappeared without being removed"
                for uid in gone
            ]
            back = box.removed & box.present
            verdict.other += [
                f"{_name(box.seen[uid])} in {address}: it was removed, and reappeared"
                for uid in back
            ]

    def _judge_outside(
        self, verdict: Verdict, copies: Iterable[Copy], troubled: Callable[[float], bool]
    ) -> None:
        found: dict[tuple[int, str], list[Copy]] = defaultdict(list)
        for copy in copies:
            found[copy.number, copy.recipient].append(copy)
            if not copy.whole:
                verdict.other.append(f"{copy.number} came to {copy.recipient} with other content")
        for entry in self.entries.values():
            for address in entry.outside:
                these = found.pop((entry.number, address), [])
                refused = address.startswith((REFUSED, "cancelled"))
                excused = sum(not copy.answered or troubled(copy.at) for copy in these)
                if entry.acknowledged_at and not these and not refused:
                    verdict.lost.append(f"{entry.number} to {address}")
                if (refused and these) or not entry.allows(len(these), excused):
                    verdict.doubled.append(
                        f"{entry.number} to {address}: {len(these)} times, {excused} excused"
                    )
        verdict.other += [
            f"{number} came to {address}, where it was not sent" for number, address in found
        ]


def _name(number: int) -> str:
    return str(number) if number > 0 else f"DSN about {-number}"
