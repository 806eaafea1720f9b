"""Address lists of ENVELOPE (RFC 9051 §7.5.2, RFC 5322 §3.4), as written.

Names keep their encoded words. A group is an address without host that begins it, and one without
anything that ends it. An address without ``@`` has an empty host, since NIL means a group. The time
is linear in the field, which the scanner of headers bounds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_ATOM = rb"[^\"\\(),:;<>@\[\] \t]+"
_SIMPLE = re.compile(
    rb"(?:(?:\"([^\"\\]*)\"[ \t]*|([^\"\\(),:;<>@\[\]]*))<(%s)@(%s)>|(%s)@(%s))"
    % (_ATOM, _ATOM, _ATOM, _ATOM)
)
_TOKEN = re.compile(
    rb"(?P<quoted>\"(?:[^\"\\]|\\.)*\"?)|(?P<angle><[^<>]*>?)|(?P<domain>\[[^\[\]]*\]?)"
    rb"|(?P<mark>[,;:()])|(?P<blank>[ \t]+)|(?P<word>[^\"<>\[,;:() \t]+|.)",
    re.DOTALL,
)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Address:
    """One address of a list."""

    name: bytes | None
    mailbox: bytes | None
    """Local part, or the name of the group that begins; None where it ends."""
    host: bytes | None
    """Domain; None where a group begins or ends."""


def parse_addresses(value: bytes) -> list[Address]:
    """Return the addresses of an unfolded field; never fails."""
    found = []
    for piece in value.split(b","):
        simple = _SIMPLE.fullmatch(piece.strip(b" \t"))
        if simple is None:  # a comma in quotes too: the piece is no address
            return _List().read(value)
        quoted, phrase, mailbox, host, bare, domain = simple.groups()
        if bare is not None:
            found.append(Address(None, bare, domain))
        else:
            name = phrase if quoted is None else quoted
            found.append(Address(b" ".join(name.split()) or None, mailbox, host))
    return found


class _List:
    def __init__(self) -> None:
        self._found: list[Address] = []
        self._in_group = False
        self._clear()

    def _clear(self) -> None:
        self._words: list[bytes] = []  # the phrase, unquoted, with its blanks
        self._raw: list[bytes] = []  # the address as written, where there are no angle brackets
        self._comment: list[bytes] = []
        self._angle: bytes | None = None

    def read(self, value: bytes) -> list[Address]:
        depth = 0
        for token in _TOKEN.finditer(value):
            piece = token[0]
            if depth:
                depth += (piece == b"(") - (piece == b")")
                if depth:
                    self._comment.append(piece)
                continue
            match token.lastgroup:
                case "mark":
                    if piece == b"(":
                        depth = 1
                    else:
                        self._mark(piece)
                case "angle":
                    self._angle = piece.strip(b"<>")
                case "blank":
                    self._words.append(b" ")
                case "quoted":
                    inner = piece[1:-1] if len(piece) > 1 and piece.endswith(b'"') else piece[1:]
                    self._words.append(_ESCAPED.sub(rb"\1", inner))
                    self._raw.append(piece)
                case _:
                    self._words.append(piece)
                    self._raw.append(piece)
        self._end()
        if self._in_group:
            self._found.append(Address(None, None, None))
        return self._found

    def _mark(self, mark: bytes) -> None:
        if mark == b":" and not self._in_group and self._angle is None:
            self._found.append(Address(None, self._phrase() or b"", None))
            self._in_group = True
            self._clear()
            return
        self._end()
        if mark == b";" and self._in_group:
            self._found.append(Address(None, None, None))
            self._in_group = False

    def _phrase(self) -> bytes:
        return b" ".join(b"".join(self._words).split())

    def _end(self) -> None:
        if self._angle is not None:
            name = self._phrase() or b"".join(self._comment).strip()
            address = self._angle.rpartition(b":")[2] if self._angle[:1] == b"@" else self._angle
        else:
            name = b"".join(self._comment).strip()
            address = b"".join(self._raw)
        if address or name or self._angle is not None:
            mailbox, at, host = address.strip(b" \t").rpartition(b"@")
            if not at:
                mailbox, host = host, b""
            self._found.append(Address(name or None, _unquoted(mailbox), host))
        self._clear()


def _unquoted(mailbox: bytes) -> bytes:
    if len(mailbox) > 1 and mailbox.startswith(b'"') and mailbox.endswith(b'"'):
        return _ESCAPED.sub(rb"\1", mailbox[1:-1])
    return mailbox
