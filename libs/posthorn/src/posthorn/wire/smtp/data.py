"""Message content on its way in: where DATA ends, dots taken off, line ends checked (RFC 5321
§2.3.8, §4.1.1.4, §4.5.2).

Theory:

- The only end of DATA is CRLF.CRLF; the CRLF of the DATA command counts as the first one. Whatever
  looks like it to a laxer program (LF.LF, CR.CR, CRLF.LF, LF.CRLF …) is content, and content with a
  bare CR or LF is ``broken``: that is how a second message is smuggled past one server into
  another. The scanner goes on to the true end, so that the refusal is about all of it.
- Bytes are handled by the piece, with ``bytes.find`` and ``bytes.count``. A piece is given out as
  soon as it is certain: what could still be the beginning of the end (at most four bytes) is kept
  for the next call. So no piece given out ends with CR, and counting line ends in each piece finds
  every bare one, however the bytes were cut.
"""

from __future__ import annotations

import re

_END = b"\r\n.\r\n"
_IRREGULAR = re.compile(rb"\r(?!\n[^.])")
"""The first CR that is bare, at the end, or of a line end before a dot. Most content has none but
that of its end; this search is several times as fast as those for each of them."""
_LINE_END = re.compile(rb"\r*\n|\r")
_LINE_END_OR_DOT = re.compile(rb"(?<!\r)\n\.(?=\.)|\r*\n|\r")
_CR = 13
_MOST_HELD = 1000
"""Bytes of a run of CRs, beyond which it is broken."""


def line_ends_are_whole(data: bytes) -> bool:
    """Whether CR and LF come only as CRLF. The bytes must not be cut within one."""
    return data.count(b"\r\n") == data.count(b"\n") == data.count(b"\r")


def with_whole_line_ends(data: bytes) -> bytes:
    """Return the bytes with every CR, LF, CRLF and CR CR LF made CRLF, and one at the end of what
    is not empty.

    CR CR LF is what a text has that was converted twice: one line end, not two.
    """
    if not line_ends_are_whole(data):
        while b"\r\r\n" in data:
            data = data.replace(b"\r\r\n", b"\r\n")
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    return data if not data or data.endswith(b"\r\n") else data + b"\r\n"


def stuff(content: bytes) -> bytes:
    """Put a dot before each line that begins with one (RFC 5321 §4.5.2). Lines end with CRLF."""
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    return b"." + stuffed if stuffed.startswith(b".") else stuffed


class DataScanner:
    """Reads what follows DATA. Feed it until ``ended``."""

    __slots__ = ("_carry", "_opening", "_wanted", "_whole", "broken", "ended", "rest")

    def __init__(self, *, whole: bool = True) -> None:
        """``whole``: whether bare CRs and LFs break the content; otherwise they are given out as
        they came."""
        self.ended = False
        self.broken = False
        """The content has a bare CR or LF and must be refused."""
        self._whole = whole
        self.rest = b""
        """What came after the end: the next commands."""
        self._carry = b"\r\n"  # the end of the DATA line, never given out
        self._opening = True
        self._wanted = True

    def discard(self) -> None:
        """Look for the end only; no more content is given out."""
        self._wanted = False

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they came; return the content that is certain now, dots taken off,
        until it is ``broken``."""
        if self.ended:
            raise ValueError("the data has ended")
        window = self._carry + data if self._carry else data
        first = _IRREGULAR.search(window)
        if first is None:
            self._carry = b""
        elif first.start() == len(window) - len(_END) and window.endswith(_END):
            self.ended, self._carry, first = True, b"", None
            window = window[:-3]
        else:
            window = self._certain_part(window)
        if not window or not self._wanted:
            return b""
        if self._whole and not (
            window.count(b"\n") == window.count(b"\r")
            if first is None
            else line_ends_are_whole(window)
        ):
            self.broken = True
            self._wanted = False
            return b""
        content = window if first is None else window.replace(b"\r\n.", b"\r\n")
        if self._opening:
            self._opening = False
            return content[2:]
        return content

    def _certain_part(self, window: bytes) -> bytes:
        """Return the content that is certain, with its dots; keep the rest."""
        end = window.find(_END)
        if end >= 0:
            self.ended = True
            self.rest = window[end + len(_END) :]
            self._carry = b""
            return window[: end + 2]
        certain = len(window) - _possible_end(window)
        self._carry = window[certain:]
        return window[:certain]


def _possible_end(window: bytes) -> int:
    """Bytes at the end of the window that begin CRLF.CRLF."""
    if window.endswith(b"\r"):
        return 4 if window.endswith(b"\r\n.\r") else 1
    if window.endswith(b"\r\n"):
        return 2
    return 3 if window.endswith(b"\r\n.") else 0


def _certain(window: bytes) -> int:
    """Bytes before what, at the end of the window, may be a part of a line end, or of a dot after
    one."""
    end = len(window)
    least = max(end - _MOST_HELD, 0)
    if window.endswith(b"\n."):
        end -= 2
    elif window.endswith(b"\n"):
        end -= 1
    while end > least and window[end - 1] == _CR:
        end -= 1
    return end


class LineEnds:
    """Makes the line ends of content whole where nothing can be smuggled: what follows BDAT (RFC
    3030), whose length is told, and DATA of a client that has logged in, which goes no further than
    in our own words.

    A bare LF becomes CRLF. So do a bare CR and a CR CR LF with ``bare_cr``; otherwise they are
    ``broken``. With ``dots`` a dot is taken off a line after a bare LF that begins with two: a
    client that ends lines so stuffs them so.
    """

    __slots__ = ("_bare_cr", "_carry", "_dots", "broken")

    def __init__(self, *, bare_cr: bool = False, dots: bool = False) -> None:
        self.broken = False
        """The content has a bare CR and must be refused."""
        self._bare_cr = bare_cr
        self._dots = dots
        self._carry = b""

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they came; return the content that is certain now, until it is
        ``broken``."""
        if self.broken:
            return b""
        window = self._carry + data if self._carry else data
        at = _certain(window)
        self._carry, window = window[at:], window[:at]
        if len(self._carry) >= _MOST_HELD:
            self.broken = True
            return b""
        return self._made_whole(window)

    def end(self) -> bytes:
        """The content is complete; return what is left of it."""
        window, self._carry = self._carry, b""
        return b"" if self.broken else self._made_whole(window)

    def _made_whole(self, window: bytes) -> bytes:
        if line_ends_are_whole(window):
            return window
        if not self._bare_cr and window.count(b"\r") != window.count(b"\r\n"):
            self.broken = True
            return b""
        return (_LINE_END_OR_DOT if self._dots else _LINE_END).sub(b"\r\n", window)
