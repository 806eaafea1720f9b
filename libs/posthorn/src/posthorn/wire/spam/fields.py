"""The header of a message for judging it: fields by name, and the mailboxes of address fields.

Nothing here fails, and everything is bounded: bytes of the header, number of fields, characters of
a field, mailboxes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from posthorn.wire.address import canonical_domain
from posthorn.wire.message.charsets import decode_unlabelled
from posthorn.wire.message.header_decoding import decode_text

HEADER_BYTES = 64 * 1024
MOST_FIELDS = 300
FIELD_CHARACTERS = 4000
MOST_MAILBOXES = 30
_KEPT_DOMAINS = 2000
_KEPT_NAMES = 1000
_LONGEST_KEPT_BYTES = 100
_KEPT_FIELDS = 1000
_LONGEST_KEPT = 300
_DECODED_CHARACTERS = 1200  # the time of encoded words grows with the square of their number

_NAME = re.compile(rb"[\x21-\x39\x3b-\x7e]{1,80}[ \t]*\Z")
_FOLD = re.compile(r"[\r\n\0\t ]+")
_TOKEN = re.compile(
    r'"((?:[^"\\]|\\.)*)"?|<([^<>]*)>?|([,;])|\(([^()]*)\)?|([^"<,;(]+)|(.)', re.DOTALL
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """One mailbox of an address field."""

    name: str
    """Display name, decoded; empty without one."""
    address: str
    """As written, in lower case; empty if there is none."""

    @property
    def domain(self) -> str:
        """The domain in canonical form; empty if it is not valid."""
        _, at, domain = self.address.rpartition("@")
        return _canonical(domain) if at else ""


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of a header. Their values become text when they are asked for: few are."""

    raw: dict[bytes, list[bytes]]
    """Values by name in lower case, as they are but for their line ends."""
    end: int
    """Offset of the body."""
    _texts: dict[str, tuple[str, ...]] = field(default_factory=dict, compare=False)

    def all(self, name: str) -> tuple[str, ...]:
        """Return the values of a field, its name in lower case: unfolded, not decoded,
        FIELD_CHARACTERS at most."""
        found = self._texts.get(name)
        if found is None:
            found = tuple(map(_text, self.raw.get(name.encode(), ())))
            self._texts[name] = found
        return found

    def first(self, name: str) -> str:
        """Return the first value of a field; empty without one."""
        return found[0] if (found := self.all(name)) else ""

    def has(self, name: str) -> bool:
        """Return whether there is such a field."""
        return name.encode() in self.raw


def _name(written: bytes) -> bytes:
    """Return the name of a field in lower case; empty if it is none."""
    return written.rstrip().lower() if _NAME.match(written) else b""


_kept_name = lru_cache(_KEPT_NAMES)(_name)  # most headers have the same fields


@lru_cache(_KEPT_DOMAINS)
def _canonical(domain: str) -> str:
    try:
        return canonical_domain(domain)
    except ValueError:
        return ""


def read_header(content: bytes) -> Fields:
    """Return the fields at the beginning of a message in canonical CRLF form."""
    end = 0 if content.startswith(b"\r\n") else content.find(b"\r\n\r\n")
    block = content[: min(end if end >= 0 else len(content), HEADER_BYTES)]
    found: dict[bytes, list[bytes]] = {}
    values: list[bytes] | None = None
    count = 0
    for line in block.split(b"\r\n"):
        if line[:1] in (b" ", b"\t"):
            if values is not None and len(values[-1]) < FIELD_CHARACTERS:
                values[-1] += b" " + line
            continue
        name, colon, value = line.partition(b":")
        count += 1
        called = (_kept_name if len(name) <= _LONGEST_KEPT_BYTES else _name)(name) if colon else b""
        if not called or count > MOST_FIELDS:
            values = None
            continue
        values = found.setdefault(called, [])
        values.append(value)
    return Fields(found, len(content) if end < 0 else end + 4 if end else 2)


def decoded_text(value: str) -> str:
    """Return an unstructured field for people and words."""
    return decode_text(value[:_DECODED_CHARACTERS]) if "=?" in value else value


def read_mailboxes(value: str) -> list[Mailbox]:
    """Return the mailboxes of an address field, MOST_MAILBOXES at most."""
    return list((_kept_mailboxes if len(value) <= _LONGEST_KEPT else _mailboxes)(value))


def _mailboxes(value: str) -> tuple[Mailbox, ...]:
    found: list[Mailbox] = []
    words: list[str] = []
    address: str | None = None
    for kind, text in _tokens(value):
        if kind == "end":
            _add(found, words, address)
            words, address = [], None
            if len(found) >= MOST_MAILBOXES:
                return tuple(found)
        elif kind == "address":
            address = text
        else:
            words.append(text)
    _add(found, words, address)
    return tuple(found)


_kept_mailboxes = lru_cache(_KEPT_FIELDS)(_mailboxes)  # of authors seen lately


def _tokens(value: str) -> Iterator[tuple[str, str]]:
    for quoted, angle, end, comment, text, odd in _TOKEN.findall(value):
        if end:
            yield "end", ""
        elif angle or odd == "<":
            yield "address", angle
        elif quoted:
            yield "word", _ESCAPED.sub(r"\1", quoted)
        elif text.strip():
            # a group's name ends with a colon (RFC 5322 §3.4)
            yield "word", text.rpartition(":")[2].strip() if ":" in text else text.strip()
        elif comment:
            yield "word", comment


def _add(found: list[Mailbox], words: list[str], address: str | None) -> None:
    if address is None and words and "@" in words[0]:
        address, words = words[0].split()[0], words[1:]
    if address is None and not words:
        return
    name = decoded_text(" ".join(words)).strip()
    found.append(Mailbox(name, (address or "").strip().lower()))


def _text(value: bytes) -> str:
    text = _FOLD.sub(" ", decode_unlabelled(value[:FIELD_CHARACTERS])).strip()
    return text[:FIELD_CHARACTERS]
