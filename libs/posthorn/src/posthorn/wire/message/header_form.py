"""Header fields in a transmissible form: folded (RFC 5322 §2.2.3) and in ASCII (RFC 2047, RFC 2231,
RFC 5890).

Rules:

- A field is changed only where necessary and possible; otherwise it is unchanged. Nothing here
  raises.
- Text fields: each run of words with 8-bit bytes becomes encoded words, along with the white space
  in the run (RFC 2047 §5 (1)).
- Fields of addresses and other phrases: display names and comments become encoded words (§5 (2) and
  (3)); a domain becomes its A-labels. A local part that is not ASCII has no other form (RFC 6532):
  the field stays.
- Parameters of Content-Type and Content-Disposition take the form of RFC 2231 §4.
- Other structured fields (Received, Message-ID, DKIM-Signature and the like) cannot contain encoded
  words: they stay.
- Bytes that are not UTF-8 are labelled ``unknown-8bit`` (RFC 1428 §3).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from posthorn.wire.address import AddressError, canonical_domain
from posthorn.wire.message.transfer_encoding import MAX_LINE

_WIDTH = 76
"""Bytes of a line with an encoded word (RFC 2047 §2)."""
_MOST = 64 * 1024
"""Bytes of the longest value that is encoded."""
_PHRASES = frozenset(
    b"from sender reply-to to cc bcc resent-from resent-sender resent-reply-to resent-to resent-cc resent-bcc "
    b"disposition-notification-to return-receipt-to errors-to mail-followup-to mail-reply-to apparently-to "
    b"keywords list-id".split()
)
_PARAMETERS = frozenset({b"content-type", b"content-disposition"})
_FIXED = frozenset(
    b"return-path received date message-id in-reply-to references resent-date resent-message-id mime-version "
    b"content-transfer-encoding content-id content-location content-language content-base content-md5 dkim-signature "
    b"domainkey-signature authentication-results received-spf arc-seal arc-message-signature arc-authentication-results "
    b"auto-submitted list-help list-unsubscribe list-unsubscribe-post list-subscribe list-post list-owner list-archive "
    b"delivered-to x-posthorn-passed original-recipient".split()
)
_NOT_IN_WORDS = {b"boundary", b"charset"}

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!*+-/")
_FIELD_END = re.compile(rb"\r\n(?![ \t])")
_SPACE = re.compile(rb"[ \t]+")
_TOKEN = re.compile(
    rb"""
    (?P<space>[ \t]+)
  | (?P<quoted>"(?:[^"\\]|\\.)*+")
  | (?P<angle><[^<>]*+>)
  | (?P<special>[,;:])
  | (?P<comment>\()
  | (?P<atom>[^ \t"<>,;:()]+)
    """,
    re.VERBOSE,
)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_PARAMETER = re.compile(rb';[ \t]*([^\s=;"*]+)[ \t]*=[ \t]*("(?:[^"\\]|\\.)*+"|[^;"\s]*)')


def folded(field: bytes) -> bytes:
    """Fold long lines of a field before white space, where it has any; ``field`` with or without
    its line end."""
    lines: list[bytes] = []
    for line in field.removesuffix(b"\r\n").split(b"\r\n"):
        while len(line) > MAX_LINE:
            cut = max(line.rfind(b" ", 1, MAX_LINE + 1), line.rfind(b"\t", 1, MAX_LINE + 1))
            if (
                cut < 0
                or not line[:cut].strip(b" \t")
                or (not lines and line[:cut].endswith(b":") and _is_token(line[cut:]))
            ):
                # a token too long for a line of its own stays where it is, and the line is folded
                # after it
                start = len(line) - len(line.lstrip(b" \t")) if cut < 0 or lines else cut + 1
                found = _SPACE.search(line, start)
                cut = found.start() if found else -1
            if cut <= 0 or not line[:cut].strip(b" \t") or not line[cut:].strip(b" \t"):
                break
            lines.append(line[:cut])
            line = line[cut:]
        lines.append(line)
    return b"\r\n".join(lines) + (b"\r\n" if field.endswith(b"\r\n") else b"")


def encoded(field: bytes) -> bytes:
    """Return a field, its name and all its lines included, in ASCII; unchanged where that is not
    possible."""
    if field.isascii():
        return field
    end = b"\r\n" if field.endswith(b"\r\n") else b""
    name, _, value = field.removesuffix(b"\r\n").replace(b"\r\n", b"").partition(b":")
    key = name.strip(b" \t").lower()
    if key in _FIXED or len(value) > _MOST or not name.isascii():
        return field
    line = _Lines(name + b":")
    try:
        if key in _PHRASES:
            _phrases(line, value)
        elif key in _PARAMETERS:
            _parameters(line, value)
        else:
            _text(line, value)
    except _Stays:
        return field
    return line.octets() + end


def _is_token(text: bytes) -> bool:
    """Return whether text begins with white space and a token that together are too long for a
    line."""
    found = _SPACE.search(text, len(text) - len(text.lstrip(b" \t")))
    return (found.start() if found else len(text)) > MAX_LINE


def needs_utf8(block: bytes) -> bool:
    """Return whether a header block contains an address without an ASCII form: it needs hosts
    with SMTPUTF8 (RFC 6531)."""
    if block.isascii():
        return False
    fields = [field for field in _FIELD_END.split(block) if not field.isascii()]
    return any(
        field.partition(b":")[0].strip(b" \t").lower() in _PHRASES and not encoded(field).isascii()
        for field in fields
    )


class _Stays(Exception):
    """The field has no ASCII form."""


class _Lines:
    """Joins tokens, folded before white space."""

    def __init__(self, start: bytes) -> None:
        self._parts = [start]
        self._column = len(start)
        self._start = True

    def put(self, space: bytes, token: bytes) -> None:
        """Add white space and a token."""
        if space and not self._start and self._column + len(space) + len(token) > _WIDTH:
            self._parts.append(b"\r\n")
            self._column = 0
        self._start = False
        self._parts.append(space + token)
        self._column += len(space) + len(token)

    def words(self, space: bytes, data: bytes) -> None:
        """Add bytes as encoded words, preceded by white space."""
        for word in _encoded_words(data, _WIDTH - self._column - len(space or b" ")):
            self.put(space or b" ", word)
            space = b" "

    def octets(self) -> bytes:
        return b"".join(self._parts)


def _encoded_words(data: bytes, room: int) -> Iterator[bytes]:
    """Split bytes into encoded words of at most 75 bytes, never within a character; the first
    has ``room`` bytes, if that is enough."""
    try:
        characters = [character.encode() for character in data.decode()]
        charset = b"utf-8"
    except UnicodeDecodeError:
        characters, charset = [bytes((octet,)) for octet in data], b"unknown-8bit"
    head, tail = b"=?%b?q?" % charset, b"?="
    limit = room if 32 <= room <= _WIDTH - 1 else _WIDTH - 1
    word = head
    for character in characters:
        quoted = b"".join(
            b"_" if octet == 0x20 else bytes((octet,)) if octet in _PLAIN else b"=%02X" % octet
            for octet in character
        )
        if len(word) + len(quoted) + len(tail) > limit and word != head:
            yield word + tail
            word, limit = head, _WIDTH - 1
        word += quoted
    yield word + tail


def _text(line: _Lines, value: bytes) -> None:
    """Unstructured text: runs of words that are not ASCII."""
    run_space, run = b"", b""
    space = b""
    for token in re.findall(rb"[ \t]+|[^ \t]+", value):
        if token[:1] in b" \t":
            space = token
        elif token.isascii():
            if run:
                line.words(run_space, run)
                run = b""
            line.put(space, token)
            space = b""
        else:
            if run:
                run += space + token
            else:
                run_space, run = space, token
            space = b""
    if run:
        line.words(run_space, run)


type _Tokens = list[tuple[str, bytes]]


def _tokens(value: bytes) -> _Tokens:
    found: _Tokens = []
    at = 0
    while at < len(value):
        match = _TOKEN.match(value, at)
        if match is None:
            raise _Stays
        kind, at = str(match.lastgroup), match.end()
        if kind != "comment":
            found.append((kind, match[0]))
            continue
        depth, begin = 1, at - 1
        while depth and at < len(value):
            octet = value[at : at + 1]
            depth += (octet == b"(") - (octet == b")")
            at += 2 if octet == b"\\" else 1
        if depth:
            raise _Stays
        found.append(("comment", value[begin:at]))
    return found


def _phrases(line: _Lines, value: bytes) -> None:
    """Items with a phrase, an address in brackets, comments: at their commas, and at the ends of
    groups."""
    item: _Tokens = []
    for kind, token in _tokens(value):
        if kind == "special":
            _item(line, item, is_group=token == b":")
            line.put(b"", token)
            item = []
        else:
            item.append((kind, token))
    _item(line, item, is_group=False)


def _item(line: _Lines, item: _Tokens, *, is_group: bool) -> None:
    brackets = [place for place, (kind, _) in enumerate(item) if kind == "angle"]
    phrase_end = len(item) if is_group else brackets[0] if brackets else 0
    if (
        not brackets
        and not is_group
        and not any(b"@" in token for kind, token in item if kind in ("atom", "quoted"))
    ):
        phrase_end = len(item)
    space = _phrase(line, item[:phrase_end])
    for kind, token in item[phrase_end:]:
        if kind == "space":
            space = token
            continue
        if token.isascii():
            line.put(space, token)
        elif kind == "comment":
            _comment(line, space, token)
        else:
            line.put(space, _address(token))
        space = b""


def _phrase(line: _Lines, tokens: _Tokens) -> bytes:
    """Write a phrase; return the white space after it."""
    words = [place for place, (kind, _) in enumerate(tokens) if kind != "space"]
    raw = [
        place for place in words if not tokens[place][1].isascii() and tokens[place][0] != "comment"
    ]
    space, run, run_space = b"", b"", b""
    for place, (kind, token) in enumerate(tokens):
        if kind == "space":
            space = token
            continue
        if raw and raw[0] <= place <= raw[-1] and kind != "comment":
            plain = _ESCAPED.sub(rb"\1", token[1:-1]) if kind == "quoted" else token
            run, run_space = (run + space + plain, run_space) if run else (plain, space)
            space = b""
            continue
        if run:
            line.words(run_space, run)
            run = b""
            space = space or b" "
        if kind == "comment" and not token.isascii():
            _comment(line, space, token)
        else:
            line.put(space, token)
        space = b""
    if run:
        line.words(run_space, run)
        space = space or b" "  # between an encoded word and what follows (RFC 2047 §5 (3))
    return space


def _comment(line: _Lines, space: bytes, token: bytes) -> None:
    inner = token[1:-1]
    if b"(" in inner or b")" in inner:  # nested or quoted comments are not parsed
        raise _Stays
    words = b" ".join(_encoded_words(_ESCAPED.sub(rb"\1", inner), 0))
    if len(words) > _MOST // 8:
        raise _Stays
    for place, word in enumerate(words.split(b" ")):
        first, last = place == 0, place == words.count(b" ")
        line.put(
            space if first else b" ", (b"(" if first else b"") + word + (b")" if last else b"")
        )


def _address(token: bytes) -> bytes:
    """Return an address, with or without brackets, with its domain in A-labels."""
    opens, closes = (b"<", b">") if token.startswith(b"<") else (b"", b"")
    local, at, domain = token.removeprefix(opens).removesuffix(closes).rpartition(b"@")
    if not at or not local.isascii():
        raise _Stays
    try:
        return opens + local + at + canonical_domain(domain.decode()).encode("ascii") + closes
    except (AddressError, UnicodeError):
        raise _Stays from None


def _parameters(line: _Lines, value: bytes) -> None:
    at = 0
    first = _PARAMETER.search(value)
    start = value[: first.start()] if first else value
    if not start.isascii():
        raise _Stays
    line.put(b"", start)
    at = len(start)
    while at < len(value):
        found = _PARAMETER.match(value, at)
        if found is None:
            rest = value[at:]
            if not rest.isascii():
                raise _Stays
            line.put(b"", rest)
            return
        name, given = found[1], found[2]
        if found[0].isascii():
            line.put(b"", b";")
            line.put(b" ", name + b"=" + given)
        elif not name.isascii() or name.lower() in _NOT_IN_WORDS:
            raise _Stays
        else:
            plain = _ESCAPED.sub(rb"\1", given[1:-1]) if given.startswith(b'"') else given
            for part in _extended(name, plain):
                line.put(b"", b";")
                line.put(b" ", part)
        at = found.end()
        space = _SPACE.match(value, at)
        at = space.end() if space else at


def _extended(name: bytes, data: bytes) -> Iterator[bytes]:
    """Yield the parameters that encode one whose value is not ASCII (RFC 2231 §3 and §4)."""
    try:
        data.decode()
        charset = b"utf-8"
    except UnicodeDecodeError:
        charset = b"unknown-8bit"
    units = [
        bytes((octet,))
        if octet in b"-._" or (chr(octet).isalnum() and octet < 128)
        else b"%%%02X" % octet
        for octet in data
    ]
    whole = b"".join(units)
    if len(name) + len(charset) + len(whole) + 5 < _WIDTH:
        yield name + b"*=" + charset + b"''" + whole
        return
    room, number, part = max(12, _WIDTH - len(name) - len(charset) - 12), 0, b""
    for unit in units:
        if len(part) + len(unit) > room:
            yield b"%b*%d*=%b%b" % (name, number, charset + b"''" if not number else b"", part)
            number, part = number + 1, b""
        part += unit
    yield b"%b*%d*=%b%b" % (name, number, charset + b"''" if not number else b"", part)
