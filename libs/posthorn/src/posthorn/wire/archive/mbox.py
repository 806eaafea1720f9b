"""mbox files: written as mboxrd, read in the dialects of common mail programs (RFC 4155 describes
the family).

Rules:

- A message begins with a line ``From <sender> <date>``, and ends before the empty line that the
  next one has before it, or before the end of the file. Three signs distinguish such a line from
  text: an empty line before it, a date in it, a header field after it. After an empty line, or at
  the start, a date is enough; without a date a header field must follow, and the sender or the name
  of the field must be a usual one. Without an empty line before it, both the date and the field are
  needed.
- A ``From`` line after an empty line with too few signs stays text and is counted, so that no
  messages merge unnoticed.
- Lines of a message that begin with ``From``, after any number of ``>``, get one more ``>``;
  reading removes one. So a message written and read again is identical.
- A Content-Length (mboxcl, mboxcl2) is used only where a ``From`` line or the end of the file
  follows the body.
- Lines end with LF in the file, with CRLF in a message. CRLF, CR CR LF, and CR alone (where the
  first line ends so) read as well; empty lines and a byte order mark before the first message are
  ignored.
- Flags are in Status and X-Status (UW-IMAP, mutt) and X-Mozilla-Status. The first two are written
  as the first two lines of a message, where no message has fields of these names, and removed from
  there when read. Elsewhere they are read and left: they may be the message's own.
- Internal entries of programs are left out, with the reason: UW-IMAP's folder data, messages that
  Mozilla has expunged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from posthorn.wire.archive.mbox_from import FromLine, begins_message, parse_from_line
from posthorn.wire.message.trace import DAYS, MONTHS

SEEN, ANSWERED, FLAGGED, DELETED, DRAFT = 1, 2, 4, 8, 16

_LONGEST_LINE = 2000
_LOOK_BACK = 8
_CANDIDATE = re.compile(rb"\nFrom ")
_QUOTED = re.compile(rb"^>(>*From )", re.MULTILINE)
_TO_QUOTE = re.compile(rb"^(>*From )", re.MULTILINE)
_STATUS = re.compile(rb"^(X-)?Status:[ \t]*([A-Za-z]*)", re.IGNORECASE | re.MULTILINE)
_MOZILLA = re.compile(rb"^X-Mozilla-Status:[ \t]*([0-9A-Fa-f]{4})\b", re.IGNORECASE | re.MULTILINE)
_MOZILLA_EXPUNGED = 8
_FOLDER_DATA = re.compile(rb"^X-IMAP(?:base)?:", re.IGNORECASE | re.MULTILINE)
_FOLDER_SUBJECT = re.compile(
    rb"^Subject:[ \t]*DO(?:N'T| NOT) DELETE THIS MESSAGE", re.IGNORECASE | re.MULTILINE
)
_LENGTH = re.compile(rb"^Content-Length:[ \t]*(\d{1,12})[ \t]*\r*$", re.IGNORECASE | re.MULTILINE)
_TOP = re.compile(rb"Status:[^\r\n]*\r?\nX-Status:[^\r\n]*\r?\n", re.IGNORECASE)
_HEADER_END = re.compile(rb"(?:\A|\n)\r*\n")
_EMPTY_LINE = re.compile(rb"\n\r*\n")
_BOM = b"\xef\xbb\xbf"
_BEFORE_FIRST = re.compile(rb"(?:\xef\xbb\xbf)?[\r\n \t]*")
_CR_ALONE = re.compile(rb"\r(?![\r\n])")
_LETTERS = {b"R": SEEN, b"A": ANSWERED, b"F": FLAGGED, b"D": DELETED, b"T": DRAFT}


class NotMboxError(ValueError):
    """The file does not begin with a ``From`` line."""


@dataclass(frozen=True, slots=True)
class MboxMessage:
    """A message of a file."""

    sender: str
    """Sender in the ``From`` line; empty when it has none."""
    received_at: float | None
    """Seconds since the epoch; None when its date cannot be parsed."""
    flags: int
    content: bytes | None
    """With the line ends of the file; None when it is longer than the limit."""
    left_out: str = ""
    """Why it is not a message of the owner; empty for a message."""


class MboxReader:
    """Reads a file piece by piece. ``limit``: bytes of one message that are kept."""

    def __init__(self, limit: int) -> None:
        self.from_lines_left = 0
        """``From`` lines after an empty line that were taken for text so far."""
        self._limit = limit
        self._held = bytearray()  # of the current message, after an added line feed
        self._scan = 0
        self._line: FromLine | None = None
        self._is_too_long = False
        self._is_first = True
        self._has_cr_lines = False
        self._length_known = False
        self._is_counted = False

    def feed(self, data: bytes) -> Iterator[MboxMessage]:
        """Process a piece; return the messages that are complete. Raises NotMboxError."""
        self._held += data.replace(b"\r", b"\n") if self._has_cr_lines else data
        yield from self._messages(is_over=False)

    def end(self) -> Iterator[MboxMessage]:
        """Finish the file; return what is left. Raises NotMboxError for a file that is none."""
        yield from self._messages(is_over=True)
        if self._line is None:
            return
        for empty in (b"\n\r\n", b"\n\n"):
            if self._held.endswith(empty):
                yield self._message(len(self._held) - len(empty) + 1)
                return
        yield self._message(len(self._held))

    def _messages(self, *, is_over: bool) -> Iterator[MboxMessage]:
        if self._line is None and not self._begin(is_over=is_over):
            return
        while True:
            if not self._skip_counted(is_over=is_over):
                return
            found = _CANDIDATE.search(self._held, max(self._scan, 1))
            if found is None:
                self._scan = max(self._scan, len(self._held) - _LOOK_BACK)
                self._cut(self._scan)
                return
            start = found.start()
            decided = self._decide(start, is_over=is_over)
            if decided is None:
                self._scan = start
                self._cut(start)
                return
            line, after = decided
            if line is None:
                self._scan = start + 1
                continue
            yield self._message(self._end_of_message(start))
            self._next(line, after)

    def _decide(self, start: int, *, is_over: bool) -> tuple[FromLine | None, int] | None:
        """Decide on the ``From`` line after the line feed at ``start``: return the line, or None
        for text, and the offset after it.

        None: more bytes are needed.
        """
        begin = start + 1
        end = self._held.find(b"\n", begin, begin + _LONGEST_LINE)
        if end < 0:
            if len(self._held) - begin < _LONGEST_LINE and not is_over:
                return None
            return (
                None if is_over and len(self._held) - begin < _LONGEST_LINE else self._text(start)
            )
        line = parse_from_line(bytes(self._held[begin:end]))
        if self._is_after_empty(start) and line.date is not None:
            return line, end + 1
        following = bytes(self._held[end + 1 : end + 1 + _LONGEST_LINE])
        if b"\n" not in following and len(following) < _LONGEST_LINE and not is_over:
            return None
        if begins_message(line, following, after_empty=self._is_after_empty(start)):
            return line, end + 1
        return self._text(start)

    def _text(self, start: int) -> tuple[None, int]:
        self.from_lines_left += self._is_after_empty(start)
        return None, 0

    def _is_after_empty(self, start: int) -> bool:
        before = start - 1
        while before >= 0 and self._held[before] == 13:
            before -= 1
        return before >= 0 and self._held[before] == 10

    def _end_of_message(self, start: int) -> int:
        """Where the message before the ``From`` line ends: without the empty line that belongs
        to the file."""
        before = start - 1
        while before >= 0 and self._held[before] == 13:
            before -= 1
        return before + 1 if before >= 0 and self._held[before] == 10 else start + 1

    def _skip_counted(self, *, is_over: bool) -> bool:
        """Skip a body whose Content-Length is valid; False while that is undetermined."""
        if self._length_known or self._is_too_long:
            return True
        header = _EMPTY_LINE.search(self._held)
        if header is None:
            self._length_known = len(self._held) > min(self._limit, 262_144)
            return True
        self._length_known = True
        found = _LENGTH.search(self._held, 0, header.start() + 1)
        if _CANDIDATE.search(self._held, 1, header.start()) is not None:
            return True
        if found is None or (end := header.end() + int(found[1])) > self._limit:
            return True
        if len(self._held) < end + _LOOK_BACK and not is_over:
            self._length_known = False
            return False
        behind = bytes(self._held[end : end + _LOOK_BACK]).replace(b"\r", b"")
        is_end = is_over and len(self._held) >= end and not behind.strip(b"\n")
        if self._held[end - 1 : end] == b"\n" and (
            is_end or behind.startswith((b"From ", b"\nFrom "))
        ):
            self._scan = end - 1
            self._is_counted = True
        return True

    def _begin(self, *, is_over: bool) -> bool:
        """Read the first ``From`` line; False while it is not complete. Raises NotMboxError."""
        skipped = _BEFORE_FIRST.match(self._held)
        assert skipped is not None
        if skipped.end() == len(self._held) or _BOM.startswith(self._held):
            if len(self._held) > _LONGEST_LINE:
                raise NotMboxError
            return False
        del self._held[: skipped.end()]
        if not self._held.startswith(b"From "[: len(self._held)]):
            raise NotMboxError
        alone = _CR_ALONE.search(self._held)
        if (
            alone
            and (alone.end() < len(self._held) or is_over)
            and b"\n" not in self._held[: alone.end()]
        ):
            self._has_cr_lines = True
            self._held = self._held.replace(b"\r", b"\n")
        self._held[:0] = b"\n"
        if is_over and b"\n" not in self._held[1:]:
            self._held += b"\n"
        decided = self._first(is_over=is_over)
        if decided is None:
            if is_over:
                raise NotMboxError
            del self._held[:1]
            return False
        line, after = decided
        if line is None:
            raise NotMboxError
        self._next(line, after)
        return True

    def _first(self, *, is_over: bool) -> tuple[FromLine | None, int] | None:
        end = self._held.find(b"\n", 1)
        if end < 0:
            return None if len(self._held) <= _LONGEST_LINE else (None, 0)
        line = parse_from_line(bytes(self._held[1:end]))
        if line.date is not None or line.looks_dated:
            return line, end + 1
        following = bytes(self._held[end + 1 : end + 1 + _LONGEST_LINE])
        if b"\n" not in following and len(following) < _LONGEST_LINE and not is_over:
            return None
        return (line, end + 1) if begins_message(line, following, after_empty=True) else (None, 0)

    def _next(self, line: FromLine, after: int) -> None:
        del self._held[:after]
        self._held[:0] = b"\n"
        self._scan, self._line, self._is_too_long = 0, line, False
        self._length_known = self._is_counted = False

    def _cut(self, keep: int) -> None:
        """Drop a message that is too long, except what the next one may begin with."""
        kept = max(0, keep - _LOOK_BACK)
        if kept > self._limit + 1:
            del self._held[:kept]
            self._scan -= kept
            self._is_too_long = True

    def _message(self, end: int) -> MboxMessage:
        assert self._line is not None
        sender, at = self._line.sender, self._line.date
        is_first, self._is_first = self._is_first, False
        if self._is_too_long or end - 1 > self._limit:
            return MboxMessage(sender, at, 0, None)
        raw = bytes(self._held[1:end])
        # where a length was given and a line is unquoted, nothing was quoted (mboxcl2)
        content = raw if self._is_counted and b"\nFrom " in raw else _QUOTED.sub(rb"\1", raw)
        top = _TOP.match(content)
        header = _header_of(content)
        if top is not None:
            return MboxMessage(sender, at, _flags(top[0]), content[top.end() :])
        left_out = _left_out(header, is_first=is_first)
        return MboxMessage(sender, at, _flags(header), content, left_out)


def from_line(sender: str, at: float) -> bytes:
    """Return the line that begins a message; ``at`` is in seconds since the epoch, an empty
    ``sender`` the null reverse-path."""
    moment = datetime.fromtimestamp(int(at), UTC)
    name = sender.encode() if sender and not re.search(r"\s", sender) else b"MAILER-DAEMON"
    day, month = DAYS[moment.weekday()], MONTHS[moment.month - 1]
    return b"From %s %s %s %2d %s %04d\n" % (
        *(
            name,
            day.encode(),
            month.encode(),
            moment.day,
            f"{moment:%H:%M:%S}".encode(),
            moment.year,
        ),
    )


def status_lines(flags: int, head: bytes) -> bytes:
    """Return the two lines for flags; none when there are none, and the message, which begins
    with ``head``, has no such fields."""
    if not flags and not _STATUS.search(head):
        return b""
    others = bytes(
        letter for mark, bit in _LETTERS.items() if bit != SEEN and flags & bit for letter in mark
    )
    return b"Status: %s\nX-Status: %s\n" % (b"RO" if flags & SEEN else b"O", others)


class MboxWriter:
    """Writes the content of one message, piece by piece: quotes it and converts its line ends to
    LF."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Process a piece of the message; return whole lines."""
        whole, feed, self._held = (self._held + data).rpartition(b"\n")
        return _TO_QUOTE.sub(rb">\1", (whole + feed).replace(b"\r\n", b"\n"))

    def end(self) -> bytes:
        """Return the rest, and the empty line after the message."""
        rest = _TO_QUOTE.sub(rb">\1", self._held)
        return rest + b"\n\n" if rest else b"\n"


def _header_of(content: bytes) -> bytes:
    end = _HEADER_END.search(content)
    return content[: end.start() + 1] if end else content


def _flags(header: bytes) -> int:
    flags = 0
    for other, letters in _STATUS.findall(header):
        for mark, bit in _LETTERS.items():
            if mark in letters.upper() and (bit == SEEN) != bool(other):
                flags |= bit
    mozilla = _MOZILLA.search(header)
    if mozilla is not None:
        bits = int(mozilla[1], 16)
        flags |= SEEN * bool(bits & 1) | ANSWERED * bool(bits & 2) | FLAGGED * bool(bits & 4)
    return flags


def _left_out(header: bytes, *, is_first: bool) -> str:
    mozilla = _MOZILLA.search(header)
    if mozilla is not None and int(mozilla[1], 16) & _MOZILLA_EXPUNGED:
        return "deleted in the mail program, and not yet removed from its file (X-Mozilla-Status)"
    if is_first and _FOLDER_DATA.search(header) and _FOLDER_SUBJECT.search(header):
        return "data of the mail program about the folder, no message (X-IMAP)"
    return ""
