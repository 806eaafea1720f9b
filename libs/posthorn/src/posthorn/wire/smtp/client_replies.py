"""Replies of other SMTP servers, as a client hears them (RFC 5321 §4.2, RFC 2034, RFC 3463).

Rules:

- ``ReplyParser`` takes bytes cut anywhere and gives whole replies. It never raises: what does not
  read makes it ``broken``, and what came whole before that is still given.
- The lines of a reply should carry one code (RFC 5321 §4.2.1). Where a refusal stands among others,
  the last code decides, and the texts of all lines are kept. Two different positive codes mean that
  host and client are out of step: that is no reply. A code alone on its line is a reply too, and a
  bare LF ends a line.
- Nothing a server says is believed to be short or printable: lines and their number are bounded,
  and ``HostReply.line`` is what may be shown to people, kept and logged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LONGEST_LINE = 4096
"""Bytes of a line that are put up with; RFC 5321 §4.5.3.1.5 allows 512."""
MOST_LINES = 128
LONGEST_SHOWN = 500
"""Characters of a reply that are shown and kept."""

_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?\r?\Z", re.DOTALL)
_STATUS = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?=\s|\Z)")


def printable(text: str, limit: int = LONGEST_SHOWN) -> str:
    """Return a text in one line of printable characters: white space is folded, anything else
    becomes ``?``."""
    words = " ".join(text.split())
    if not words.isprintable():
        words = "".join(character if character.isprintable() else "?" for character in words)
    return words if len(words) <= limit else words[: limit - 1] + "…"


@dataclass(frozen=True, slots=True)
class HostReply:
    """One reply of one or more lines."""

    code: int
    lines: tuple[bytes, ...]
    """What stands behind the code in each line."""
    others: tuple[tuple[int, bytes], ...] = ()
    """Lines before the last one that carried another code: that code, and what stands behind it."""

    @property
    def status(self) -> str:
        """The enhanced code it begins with; empty without one, and where its class is not the
        code's (RFC 2034 §4)."""
        found = _STATUS.match(self.lines[0][:16].decode("ascii", "replace"))
        return found[0] if found and int(found[1]) == self.code // 100 else ""

    @property
    def line(self) -> str:
        """For people: code and text in one printable line, an enhanced code that each line
        repeats only once."""
        texts = [_text(text) for text in self.lines]
        status = self.status
        if status:
            texts[1:] = [
                text[len(status) :] if text.startswith(f"{status} ") else text for text in texts[1:]
            ]
        if self.others:
            texts.append(
                f"(before it: {'; '.join(f'{code} {_text(line)}' for code, line in self.others)})"
            )
        return printable(" ".join([str(self.code), *texts]))


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").strip()


class ReplyParser:
    """Reads replies. Feed it what comes, until it is ``broken``."""

    __slots__ = ("_carry", "_code", "_lines", "broken")

    def __init__(self) -> None:
        self.broken = ""
        """What was wrong, for people; empty as long as all is well. Nothing is read after it."""
        self._carry = b""
        self._lines: list[tuple[bytes, bytes]] = []

    @property
    def is_within(self) -> bool:
        """Whether a part of a reply has come and its end has not."""
        return bool(self._carry or self._lines)

    def feed(self, data: bytes) -> list[HostReply]:
        """Take bytes as they came; return the replies that they complete."""
        replies: list[HostReply] = []
        if self.broken:
            return replies
        lines = (self._carry + data).split(b"\n")
        self._carry = lines.pop()
        for line in lines:
            found = _LINE.match(line) if len(line) < LONGEST_LINE else None
            if found is None:
                self.broken = (
                    "a reply that is none in SMTP"
                    if len(line) < LONGEST_LINE
                    else "a reply line without end"
                )
                return replies
            code, mark, text = found.groups(b"")
            self._lines.append((code, text.removesuffix(b"\r")))
            if len({each for each, _ in self._lines if each < b"400"}) > 1:
                told = "; ".join(f"{each.decode()} {_text(text)}" for each, text in self._lines)
                self.broken = f"a reply with several codes: {printable(told, 200)}"
                return replies
            if mark != b"-":
                own = tuple(text for each, text in self._lines if each == code)
                others = tuple((int(each), text) for each, text in self._lines if each != code)
                replies.append(HostReply(int(code), own, others))
                self._lines.clear()
            elif len(self._lines) >= MOST_LINES:
                self.broken = "a reply without end"
                return replies
        if len(self._carry) >= LONGEST_LINE:
            self.broken = "a reply line without end"
        return replies


def extensions(reply: HostReply) -> dict[str, str]:
    """Return what a reply to EHLO offers: keywords in upper case, with their parameters (RFC 5321
    §4.1.1.1).

    ``AUTH=LOGIN`` of old servers is read as ``AUTH LOGIN``.
    """
    offered: dict[str, str] = {}
    for line in reply.lines[1:]:
        text = line.decode("ascii", "replace").strip()
        if text[:5].upper() == "AUTH=":
            text = f"AUTH {text[5:]}"
        keyword, _, parameters = text.partition(" ")
        keyword, parameters = keyword.upper(), parameters.strip()
        if keyword == "AUTH" and keyword in offered:
            parameters = f"{offered[keyword]} {parameters}"
        if keyword:
            offered[keyword] = parameters
    return offered
