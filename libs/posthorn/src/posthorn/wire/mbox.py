"""mbox files, in the form mboxrd (RFC 4155 describes the family).

Rules:

- A message begins with a line ``From <sender> <date>`` at the start of the file or after an empty line, and ends before the
  empty line that the next one has before it, or before the end of the file. A line that begins so and holds no date is text.
- Lines of a message that begin with ``From``, after any number of ``>``, get one more ``>``; reading takes one off again. So
  what is written and read again is the same, octet for octet.
- Lines end with LF in the file, with CRLF in a message. A file with CRLF reads as well.
- Flags stand in the fields Status and X-Status (as UW-IMAP and mutt have them). They are written as the first two lines of a
  message, where no letter has fields of these names, and taken off again there. Wherever else they stand they are read and
  left: they may be the letter's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from posthorn.wire.trace import DAYS, MONTHS

SEEN, ANSWERED, FLAGGED, DELETED, DRAFT = 1, 2, 4, 8, 16

_LONGEST_LINE = 2000
_SEPARATOR = re.compile(rb"\n\r?\nFrom ")
_FROM = re.compile(rb"From (?:(\S*) +)?(?:[A-Z][a-z]{2},? +)?(\S.*\d{1,2}:\d\d.*\b\d{4}\b.*?)\r?\Z", re.DOTALL)
_DATE = re.compile(
    rb"(?:(?P<day>\d{1,2}) +)?(?P<month>[A-Z][a-z]{2}) +(?(day)(?P<year>\d{4}) +|(?P<other>\d{1,2}) +)"
    rb"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d))?(?P<rest>.*)\Z",
    re.DOTALL,
)
_YEAR = re.compile(rb"(?<![+-])\b(\d{4})\b")
_ZONE = re.compile(rb"([+-])(\d\d)(\d\d)\b")
_QUOTED = re.compile(rb"^>(>*From )", re.MULTILINE)
_TO_QUOTE = re.compile(rb"^(>*From )", re.MULTILINE)
_STATUS = re.compile(rb"^(X-)?Status:[ \t]*([A-Za-z]*)", re.IGNORECASE | re.MULTILINE)
_TOP = re.compile(rb"Status:[^\r\n]*\r?\nX-Status:[^\r\n]*\r?\n", re.IGNORECASE)
_HEADER_END = re.compile(rb"(?:\A|\n)\r?\n")
_LETTERS = {b"R": SEEN, b"A": ANSWERED, b"F": FLAGGED, b"D": DELETED, b"T": DRAFT}


class NotMbox(ValueError):  # noqa: N818 - it names what the octets are
    """The file does not begin with a ``From`` line."""


@dataclass(frozen=True, slots=True)
class MboxMessage:
    """A message of a file."""

    sender: str
    """Of the ``From`` line; empty when it names none."""
    received_at: float | None
    """Seconds since the epoch; None when its date does not read."""
    flags: int
    content: bytes | None
    """With the line ends of the file; None when it is longer than may be."""


class MboxReader:
    """Reads a file piece by piece. ``limit`` is how many octets of one message are kept."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = bytearray()  # of the message at hand, after a line feed of our own
        self._scan = 0
        self._line: bytes | None = None
        self._is_too_long = False

    def feed(self, octets: bytes) -> Iterator[MboxMessage]:
        """Take octets as they come; gives the messages that are complete. Raises NotMbox."""
        self._held += octets
        if self._line is None and not self._begin():
            return
        while True:
            found = _SEPARATOR.search(self._held, self._scan)
            if found is None:
                self._scan = max(0, len(self._held) - 8)
                self._cut()
                return
            start, end = found.end() - 5, self._held.find(b"\n", found.end(), found.end() + _LONGEST_LINE)
            if end < 0 and len(self._held) - start < _LONGEST_LINE:
                self._scan = found.start()
                self._cut(found.start())
                return
            line = bytes(self._held[start:end]) if end >= 0 else b""
            if not _is_from(line):
                self._scan = found.end() - 1
                continue
            yield self._message(found.start() + 1)
            self._next(line, end)

    def end(self) -> MboxMessage | None:
        """The file is over; gives the last message. Raises NotMbox for a file that is none."""
        if self._line is None:
            if not self._held.strip():
                return None
            self._held += b"\n"
            if not self._begin():
                raise NotMbox
        for empty in (b"\n\r\n", b"\n\n"):
            if self._held.endswith(empty):
                return self._message(len(self._held) - len(empty) + 1)
        return self._message(len(self._held))

    def _begin(self) -> bool:
        """Read the first ``From`` line; False while it is not complete."""
        if not self._held.startswith(b"From "[: len(self._held)]):
            raise NotMbox
        end = self._held.find(b"\n")
        if end < 0:
            if len(self._held) > _LONGEST_LINE:
                raise NotMbox
            return False
        line = bytes(self._held[:end])
        if not _FROM.match(line):
            raise NotMbox
        self._next(line, end)
        return True

    def _next(self, line: bytes, end: int) -> None:
        del self._held[: end + 1]
        self._held[:0] = b"\n"
        self._scan, self._line, self._is_too_long = 0, line, False

    def _cut(self, keep: int | None = None) -> None:
        """Let go of a message that is too long, but for what the next one may begin with."""
        kept = self._scan if keep is None else keep
        if kept > self._limit + 1:
            del self._held[:kept]
            self._scan = 0
            self._is_too_long = True

    def _message(self, end: int) -> MboxMessage:
        assert self._line is not None
        sender, at = _read_from(self._line)
        if self._is_too_long or end - 1 > self._limit:
            return MboxMessage(sender, at, 0, None)
        content = _QUOTED.sub(rb"\1", bytes(self._held[1:end]))
        top = _TOP.match(content)
        if top is not None:
            return MboxMessage(sender, at, _flags(top[0]), content[top.end() :])
        return MboxMessage(sender, at, _flags(content), content)


def from_line(sender: str, at: float) -> bytes:
    """Give the line that begins a message; ``at`` is in seconds since the epoch, an empty ``sender`` the null reverse-path."""
    moment = datetime.fromtimestamp(int(at), UTC)
    name = sender.encode() if sender and not re.search(r"\s", sender) else b"MAILER-DAEMON"
    day, month = DAYS[moment.weekday()], MONTHS[moment.month - 1]
    return b"From %s %s %s %2d %s %04d\n" % (
        *(name, day.encode(), month.encode(), moment.day, f"{moment:%H:%M:%S}".encode(), moment.year),
    )


def status_lines(flags: int, head: bytes) -> bytes:
    """Give the two lines for flags; none when there are none, and the message, which begins with ``head``, has no such fields."""
    if not flags and not _STATUS.search(head):
        return b""
    others = bytes(letter for mark, bit in _LETTERS.items() if bit != SEEN and flags & bit for letter in mark)
    return b"Status: %s\nX-Status: %s\n" % (b"RO" if flags & SEEN else b"O", others)


class MboxWriter:
    """Writes the content of one message, piece by piece: quotes it and makes its line ends LF."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, octets: bytes) -> bytes:
        """Take a piece of the message; gives whole lines."""
        whole, feed, self._held = (self._held + octets).rpartition(b"\n")
        return _TO_QUOTE.sub(rb">\1", (whole + feed).replace(b"\r\n", b"\n"))

    def end(self) -> bytes:
        """Give the rest, and the empty line behind the message."""
        rest = _TO_QUOTE.sub(rb">\1", self._held)
        return rest + b"\n\n" if rest else b"\n"


def _flags(content: bytes) -> int:
    end = _HEADER_END.search(content)
    flags = 0
    for other, letters in _STATUS.findall(content, 0, end.start() if end else len(content)):
        for mark, bit in _LETTERS.items():
            if mark in letters.upper() and (bit == SEEN) != bool(other):
                flags |= bit
    return flags


def _is_from(line: bytes) -> bool:
    found = _FROM.match(line)
    return found is not None and _read_date(found[2]) is not None


def _read_from(line: bytes) -> tuple[str, float | None]:
    found = _FROM.match(line)
    assert found is not None
    sender = (found[1] or b"").decode("utf-8", "replace")
    return sender if "@" in sender else "", _read_date(found[2])  # MAILER-DAEMON, - or <> without


def _read_date(text: bytes) -> float | None:
    """Read a date as ``ctime`` writes it, with or without a zone, which is UTC otherwise; or one of RFC 5322."""
    found = _DATE.match(text)
    if found is None:
        return None
    year = found["year"] or next(iter(_YEAR.findall(found["rest"])), b"")
    month = found["month"].decode()
    if not year or month not in MONTHS:
        return None
    time = (int(found["hour"]), int(found["minute"]), int(found["second"] or 0))
    try:
        day = int(found["day"] or found["other"])
        moment = datetime(int(year), MONTHS.index(month) + 1, day, *time, tzinfo=UTC)
    except ValueError:
        return None
    zone = _ZONE.search(found["rest"])
    shift = 0 if zone is None else (int(zone[2]) * 60 + int(zone[3])) * (-60 if zone[1] == b"+" else 60)
    return moment.timestamp() + shift
