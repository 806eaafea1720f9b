"""The header of a submitted message: checked and completed (RFC 6409 §6 and §8, RFC 5322 §3.6).

Rules:

- The header block contains only fields and their continuations. Any other line would end the header
  for one program and not for another, but all must agree on the author.
- There is exactly one From field, and it is parsed strictly: a list of mailboxes, no groups, no
  routes. A word with an ``@`` in a name that is not quoted counts as an author too: programs write
  an address as its own name, and a sender who owns each of them impersonates no one. An unparsable
  field belongs to no one.
- Bcc and Resent-Bcc are removed, and so is Return-Path, which only the last server writes (RFC 5321
  §4.4). Missing Date and Message-ID are added. All other bytes are unchanged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from posthorn.wire.address import Address, AddressError
from posthorn.wire.foreign_address import parse_foreign

HEADER_LIMIT = 256 * 1024
"""Bytes of the longest header block that is accepted."""
MOST_AUTHORS = 20
"""Most addresses of a From field; each must be looked up."""

QUOTE_IT = "a name that holds one of ( ) < > [ ] : ; @ \\ , must stand in quotes"
"""Advice on a name that is not valid."""

_FROM_LIMIT = 16 * 1024
_LONGEST_SHOWN = 100
_LONGEST_KEPT = 500
"""Bytes of a field whose addresses are kept."""
_ANGLED = re.compile(r"<[^<>@]+@[^<>@]+>")
_DROPPED = frozenset({b"bcc", b"resent-bcc", b"return-path"})
_SENDERS = frozenset({b"sender", b"resent-from", b"resent-sender"})
_FIELD = re.compile(rb"([\x21-\x39\x3b-\x7e]+)[ \t]*:")
_TOKEN = re.compile(
    r"""
    (?P<space>[ \t]+)
  | (?P<quoted>"(?:[^"\\]|\\.)*+")
  | (?P<literal>\[[^\[\]\\]*+\])
  | (?P<special>[()<>,;:@\\"\[\]])
  | (?P<atom>[^ \t()<>,;:@\\"\[\]]+)
    """,
    re.VERBOSE,
)


class HeaderError(ValueError):
    """The header is not in the form of RFC 5322 §2.2: a line is neither a field nor the
    continuation of one."""


class AuthorError(ValueError):
    """The From field is missing, repeated or not valid (RFC 5322 §3.6.2)."""

    is_unquoted = False
    """It contains an address: most likely the name before it needs quotes."""
    advice = ""
    """The correct form, for people; empty where it is unknown."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """A header block, parsed and completed."""

    block: bytes
    """The completed block, every line ended by CRLF; without the blank line that ends it."""
    authors: tuple[Address, ...]
    """The addresses of the From field; empty when it is not valid."""
    fault: str = ""
    """Error in the From field, or in one of the fields of ``senders``; empty when there is none."""
    senders: tuple[Address, ...] = ()
    """The addresses of Sender, Resent-From and Resent-Sender, each once: programs show them as
    the sender, so they must belong to the submitter like those of From."""
    is_unquoted: bool = False
    advice: str = ""
    """See AuthorError, for both."""


def complete(block: bytes, *, date: str, message_id: str) -> Submitted:
    """Complete a header block. Raises HeaderError.

    ``block`` has CRLF line ends and no blank line; the last line may lack its end. ``date`` and
    ``message_id`` (with its angle brackets) are added when the block has none.
    """
    if block and not block.endswith(b"\r\n"):
        block += b"\r\n"
    fields = _fields(block)
    names = {name for name, _ in fields}
    if names & _DROPPED:
        block = b"".join(field for name, field in fields if name not in _DROPPED)
    if b"date" not in names:
        block += f"Date: {date}\r\n".encode("ascii")
    if b"message-id" not in names:
        block += f"Message-ID: {message_id}\r\n".encode("ascii")
    authors = [field for name, field in fields if name == b"from"]
    try:
        if len(authors) != 1:
            raise AuthorError("several From fields" if authors else "no From field")
        found = authors_of(authors[0])
        senders = [field for name, field in fields if name in _SENDERS]
        return Submitted(block, found, senders=_senders_of(senders) if senders else ())
    except AuthorError as error:
        return Submitted(block, (), str(error), is_unquoted=error.is_unquoted, advice=error.advice)


def _fields(block: bytes) -> list[tuple[bytes, bytes]]:
    """Return each field, with its continuations, under its name in lower case."""
    lines = block.split(b"\r\n")[:-1]
    names: list[bytes] = []
    begins: list[int] = []
    for place, line in enumerate(lines):
        if line[:1] in (b" ", b"\t"):
            if not names:
                raise HeaderError("the header begins with a continuation")
        elif match := _FIELD.match(line):
            names.append(match[1].lower())
            begins.append(place)
        else:
            raise HeaderError("a line is neither a field nor its continuation")
    return [
        (name, b"\r\n".join((*lines[begin:end], b"")))
        for name, (begin, end) in zip(names, pairwise((*begins, len(lines))), strict=True)
    ]


def authors_of(field: bytes) -> tuple[Address, ...]:
    """Return the addresses of a From field, given with its name and all its lines. Raises
    AuthorError, which names the field.

    Addresses within names come last.
    """
    if len(field) <= _LONGEST_KEPT:
        return _authors_seen_lately(field)
    return _authors_of(field)


def _authors_of(field: bytes) -> tuple[Address, ...]:
    name, _, value = field.partition(b":")
    if len(field) > _FROM_LIMIT:
        raise AuthorError(f"{name.decode('ascii', 'replace').strip()}: too long")
    text = value.replace(b"\r\n", b"").decode("utf-8", "surrogateescape")
    try:
        return _authors(text)
    except AuthorError as error:
        named = AuthorError(f"{name.decode('ascii', 'replace').strip()}: {error}")
        named.is_unquoted = _ANGLED.search(text) is not None
        named.advice = _advice(text)
        raise named from error


_authors_seen_lately = lru_cache(1024)(_authors_of)
"""A sender writes the same field into each of many messages."""


def _authors(text: str) -> tuple[Address, ...]:
    if any((character < " " and character != "\t") or character == "\x7f" for character in text):
        raise AuthorError("control characters")
    mailboxes = [_mailbox(tokens) for tokens in _items(_tokens(text))]
    found = [mailbox[0] for mailbox in mailboxes]
    named = dict.fromkeys(address for mailbox in mailboxes for address in mailbox[1:])
    authors = (*found, *(address for address in named if address not in found))
    if not 0 < len(authors) <= MOST_AUTHORS:
        raise AuthorError("no address, or too many")
    return authors


def _advice(text: str) -> str:
    found = _ANGLED.findall(text)
    if not found:
        return "an address cannot stand in an encoded word (RFC 2047 §5)" if "=?" in text else ""
    name, _, rest = text.partition(found[0])
    name = name.replace('"', "").strip()
    if len(found) > 1 or rest.strip() or not name.isprintable() or len(name) > _LONGEST_SHOWN:
        return QUOTE_IT
    shown = name.replace("\\", "\\\\")
    return f'{QUOTE_IT}: "{shown}" {found[0]}'


def _senders_of(fields: list[bytes]) -> tuple[Address, ...]:
    """Return the addresses of such fields. Raises AuthorError, also for a second Sender field
    (RFC 5322 §3.6)."""
    if sum(field[:6].lower() == b"sender" for field in fields) > 1:
        raise AuthorError("several Sender fields")
    found = dict.fromkeys(address for field in fields for address in authors_of(field))
    if len(found) > MOST_AUTHORS:
        raise AuthorError("too many addresses in Resent fields")
    return tuple(found)


def _tokens(text: str) -> list[tuple[str, str]]:
    """Return kind and text of each token; a comment, with those within it, is a space (RFC 5322
    §3.2.2)."""
    tokens: list[tuple[str, str]] = []
    at = depth = 0
    while at < len(text):
        if depth:
            match text[at]:
                case "(":
                    depth += 1
                case ")":
                    depth -= 1
                case "\\":
                    at += 1
            at += 1
            continue
        found = _TOKEN.match(text, at)
        assert found is not None and found.lastgroup is not None, "every character begins a token"
        at = found.end()
        if found[0] == "(":
            depth = 1
            tokens.append(("space", " "))
        elif found.lastgroup == "special" and found[0] not in "<>,@":
            raise AuthorError(f"a {found[0]} where none may be")
        else:
            tokens.append((found.lastgroup, found[0]))
    if depth:
        raise AuthorError("a comment does not end")
    return tokens


def _items(tokens: list[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """Split at commas; items of only white space are obsolete syntax and ignored (RFC 5322
    §4.4)."""
    items: list[list[tuple[str, str]]] = [[]]
    for token in tokens:
        if token == ("special", ","):
            items.append([])
        else:
            items[-1].append(token)
    return [item for item in items if any(kind != "space" for kind, _ in item)]


def _mailbox(tokens: list[tuple[str, str]]) -> list[Address]:
    """Return the address, followed by those in its name."""
    marks = [text for kind, text in tokens if kind == "special"]
    if marks == ["@"]:
        return [_address(tokens)]
    if marks[-3:] != ["<", "@", ">"] or set(marks[:-3]) - {"@"}:
        raise AuthorError("an item is no mailbox")
    begin, end = tokens.index(("special", "<")), tokens.index(("special", ">"))
    if any(kind != "space" for kind, _ in tokens[end + 1 :]):
        raise AuthorError("something follows an address")
    if any(kind == "literal" for kind, _ in tokens[:begin]):
        raise AuthorError("brackets in a name")
    return [_address(tokens[begin + 1 : end]), *_named(tokens[:begin])]


def _named(tokens: list[tuple[str, str]]) -> list[Address]:
    """Return the addresses that are words of a name."""
    words: list[list[tuple[str, str]]] = [[]]
    for token in tokens:
        if token[0] == "space":
            words.append([])
        else:
            words[-1].append(token)
    named = [
        "".join(text for _, text in word).strip("'") for word in words if ("special", "@") in word
    ]
    try:
        return [parse_foreign(word) for word in named]
    except AddressError as error:
        raise AuthorError("a name holds an @ that is in no address") from error


def _address(tokens: list[tuple[str, str]]) -> Address:
    # white space is permitted only around the parts
    local, _, domain = "".join(
        " " if kind == "space" else text for kind, text in tokens
    ).rpartition("@")
    try:
        return parse_foreign(f"{local.strip(' ')}@{domain.strip(' ')}")
    except AddressError as error:
        raise AuthorError("an address does not read") from error
