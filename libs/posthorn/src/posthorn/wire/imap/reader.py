"""Reader of the tokens of one command: atoms, strings, numbers, sets, lists (RFC 9051 §9).

Rules:

- A command is text and literals in turn. Every string may be a literal, also in LOGIN and SEARCH.
- Patterns are anchored at the place of reading and have no nested repetition: the time is linear
  in the command.
- Blanks at the end of a command are ignored; elsewhere one blank is one blank.
- An error is a BadCommand with the whole condition of the reply, ``BAD …`` or ``NO […] …``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from posthorn.wire.imap.mailbox_names import InvalidNameError, decode_name
from posthorn.wire.imap.sequence_set import LARGEST, SequenceSet, parse_sequence_set

MOST_NAMES = 1000
"""Most items of one list: flags, fetch items, field names, patterns."""
LARGEST_MODSEQ = (1 << 63) - 1
"""Largest mod-sequence and size (RFC 7162 §7)."""

ATOM = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\\]]+")
_ASTRING = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\]+")
_PATTERN = re.compile(rb"[^\x00-\x20\x7f-\xff(){\"\\]+")
_QUOTED = re.compile(rb'"((?:[^"\\\r\n\0]|\\[^\r\n\0])*)"')
_ESCAPED = re.compile(rb"\\(.)")
_FLAG = re.compile(rb"\\?[^\x00-\x20\x7f-\xff(){%*\"\\\]]+")
_NUMBER = re.compile(rb"[0-9]{1,19}(?![0-9])")
_SET = re.compile(rb"[0-9*:,$]+")
_BLANKS = re.compile(rb" *\Z")

SYSTEM_FLAGS = {
    flag.lower(): flag for flag in ("\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft")
}
"""Flags that a client may set, from lower case to their spelling."""
LONGEST_KEYWORD_BYTES = 255
"""Most bytes of a keyword."""


class BadCommand(Exception):
    """A command that is not valid; the text is the reply's after the tag."""

    def __init__(self, text: str, condition: str = "BAD") -> None:
        super().__init__(f"{condition} {text}")


@dataclass(frozen=True, slots=True)
class Literal:
    """A string that came as a literal."""

    octets: bytes
    is_binary: bool = False


class Reader:
    """A place within a command."""

    __slots__ = ("_index", "_parts", "at", "enabled", "text")

    def __init__(
        self, parts: Sequence[bytes | Literal], enabled: frozenset[str] = frozenset(), at: int = 0
    ) -> None:
        """``parts``: text and literals in turn, text first; ``enabled``: what ENABLE enabled."""
        self._parts, self._index = parts, 0
        text = parts[0]
        assert isinstance(text, bytes)
        self.text, self.at = text, at
        self.enabled = enabled

    @property
    def utf8(self) -> bool:
        """Whether names and strings are in UTF-8."""
        return "UTF8=ACCEPT" in self.enabled or "IMAP4REV2" in self.enabled

    def peek(self) -> bytes:
        """Return the next byte; empty before a literal and at the end."""
        return self.text[self.at : self.at + 1]

    def at_literal(self) -> bool:
        """Whether a literal comes next."""
        return self.at == len(self.text) and self._index + 1 < len(self._parts)

    def is_at_end(self) -> bool:
        """Whether nothing but blanks is left."""
        return self._index + 1 >= len(self._parts) and bool(_BLANKS.match(self.text, self.at))

    def end(self) -> None:
        """Expect the end of the command."""
        if not self.is_at_end():
            raise BadCommand("unexpected argument")

    def take(self, octets: bytes) -> bool:
        """Take these bytes if they come next."""
        if not self.text.startswith(octets, self.at):
            return False
        self.at += len(octets)
        return True

    def expect(self, octets: bytes) -> None:
        """Take these bytes. Raises BadCommand."""
        if not self.take(octets):
            raise BadCommand(
                "an argument is missing" if octets == b" " else f"expected {octets.decode()}"
            )

    def space(self) -> None:
        """Take the blank before an argument. Raises BadCommand."""
        self.expect(b" ")

    def word(self, pattern: re.Pattern[bytes] = ATOM) -> str:
        """Take an atom, in upper case: the name of an item, an option. Raises BadCommand."""
        return self._match(pattern, "expected a word").decode().upper()

    def word_as_written(self) -> str:
        """Take an atom in its own case: a keyword. Raises BadCommand."""
        return self._match(ATOM, "expected a keyword").decode()

    def number(self, largest: int = LARGEST, *, least: int = 0) -> int:
        """Take a number. Raises BadCommand."""
        number = int(self._match(_NUMBER, "expected a number"))
        if not least <= number <= largest:
            raise BadCommand("the number is out of range")
        return number

    def sequence_set(self) -> SequenceSet:
        """Take a sequence set or ``$``. Raises BadCommand."""
        text = self._match(_SET, "expected a sequence set")
        try:
            return parse_sequence_set(text)
        except ValueError as error:
            raise BadCommand(str(error)) from None

    def string(self) -> bytes:
        """Take a quoted string or a literal. Raises BadCommand."""
        if self.at_literal():
            literal = self._parts[self._index + 1]
            text = self._parts[self._index + 2] if self._index + 2 < len(self._parts) else b""
            assert isinstance(literal, Literal) and isinstance(text, bytes)
            self._index += 2
            self.text, self.at = text, 0
            return literal.octets
        found = _QUOTED.match(self.text, self.at)
        if found is None:
            raise BadCommand("expected a string")
        self.at = found.end()
        return _ESCAPED.sub(rb"\1", found[1]) if b"\\" in found[1] else found[1]

    def astring(self, pattern: re.Pattern[bytes] = _ASTRING) -> bytes:
        """Take an atom or a string. Raises BadCommand."""
        if self.at_literal() or self.peek() == b'"':
            return self.string()
        return self._match(pattern, "expected a string")

    def nstring(self) -> bytes | None:
        """Take a string or NIL. Raises BadCommand."""
        if self.text[self.at : self.at + 3].upper() == b"NIL":
            self.at += 3
            return None
        return self.string()

    def mailbox(self) -> str:
        """Take the name of a mailbox. Raises BadCommand, with NO for one that cannot exist."""
        name = self._name(self.astring())
        if not name:
            raise BadCommand("[CANNOT] the mailbox name is empty", "NO")
        return name

    def reference(self) -> str:
        """Take the reference of LIST, which may be empty. Raises BadCommand."""
        return self._name(self.astring())

    def pattern(self) -> str:
        """Take a pattern of LIST. Raises BadCommand."""
        return self._name(self.astring(_PATTERN))

    def flag(self) -> str:
        """Take a flag or keyword that can be set. Raises BadCommand."""
        text = self._match(_FLAG, "expected a flag").decode()
        if text.startswith("\\"):
            if (system := SYSTEM_FLAGS.get(text.lower())) is None:
                raise BadCommand("no such flag can be set")
            return system
        if len(text) > LONGEST_KEYWORD_BYTES:
            raise BadCommand("[LIMIT] the keyword is too long", "NO")
        return text

    def flags(self) -> tuple[str, ...]:
        """Take a list of flags in brackets, each once. Raises BadCommand."""
        return tuple(dict.fromkeys(self.items(self.flag, may_be_empty=True)))

    def items[T](self, take: Callable[[], T], *, may_be_empty: bool = False) -> list[T]:
        """Take a list in brackets. Raises BadCommand."""
        self.expect(b"(")
        found: list[T] = []
        if may_be_empty and self.take(b")"):
            return found
        while True:
            found.append(take())
            if self.take(b")"):
                return found
            if len(found) >= MOST_NAMES:
                raise BadCommand("[LIMIT] too many items", "NO")
            self.space()

    def _name(self, octets: bytes) -> str:
        try:
            return decode_name(octets, utf8=self.utf8)
        except InvalidNameError as error:
            raise BadCommand(f"[CANNOT] invalid mailbox name: {error}", "NO") from None

    def _match(self, pattern: re.Pattern[bytes], missing: str) -> bytes:
        found = pattern.match(self.text, self.at)
        if found is None:
            raise BadCommand(missing)
        self.at = found.end()
        return found[0]
