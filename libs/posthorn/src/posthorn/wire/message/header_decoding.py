"""Header fields decoded for people (RFC 2047, RFC 5322 §3.4): for listings and searches, never for
decisions.

Rules:

- Each encoded word is decoded separately; an invalid one stays as written and affects no other.
  Bytes of adjacent words in one character set are joined first, since some programs split
  characters.
- White space between two adjacent words is not shown; nothing is added.
- Decoded words are data: control characters and line ends are removed, and in an address field a
  name with a special character is quoted, so that it cannot pose as an address. Neither can one by
  the order in which it is shown: explicit changes of direction (UAX #9 section 2) are removed too.
"""

from __future__ import annotations

import base64
import binascii
import quopri
import re
from collections.abc import Iterator

from posthorn.wire.message.charsets import UnknownCharsetError, decode
from posthorn.wire.message.encoded_words import encoded_words

_HALF_WORD = re.compile(r"=\?[^?\s]{1,80}(?:\?[BbQq]?(?:\?[^?\s]*\??)?)?\Z")
_LINE_ENDS = re.compile("(?:\r\n|[\r\n\t\v\f\x85\u2028\u2029])+[ \t]*")
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_SPECIALS = re.compile(r'[()<>\[\]:;@\\,"]')
_ITEM = re.compile(
    r"""
    (?P<quoted>"(?:[^"\\]|\\.)*"?)
  | (?P<angle><[^<>]*>?)
  | (?P<comma>,)
  | (?P<text>[^"<,(]+|\()
    """,
    re.VERBOSE | re.DOTALL,
)


def decode_text(field: str) -> str:
    """Return an unstructured field, such as Subject, decoded."""
    if "=?" not in field and field.isascii() and field.isprintable():
        return field.strip()
    return _clean("".join(_decoded(_whole(field))))


def decode_addresses(field: str) -> str:
    """Return an address field, such as From, decoded name by name."""
    shown: list[str] = []
    item: list[tuple[str, str]] = []
    for kind, text in _tokens(_whole(field)):
        if kind == "comma":
            shown.append(_mailbox(item))
            item = []
        else:
            item.append((kind, text))
    shown.append(_mailbox(item))
    return ", ".join(text for text in shown if text)


def _whole(field: str) -> str:
    """Return the field without a partial word at its end, which a limit may have left."""
    if "?=" in field[field.rfind("=?") :]:
        return field
    half = _HALF_WORD.search(field)
    return field if half is None else field[: half.start()].rstrip()


def _decoded(text: str) -> Iterator[str]:
    """Return the pieces of the text, words decoded."""
    at = 0
    data, charset = b"", ""  # of words that are decoded together
    for word in encoded_words(text):
        between = text[at : word.start]
        content = _octets_of(word.encoding, word.content) if _is_known(word.charset) else None
        is_beside = bool(charset) and content is not None and not between.strip(" \t\r\n")
        if charset and not (is_beside and word.charset.lower() == charset):
            yield decode(data, charset)
            data, charset = b"", ""
        if not is_beside:
            yield between
        if content is None:
            yield text[word.start : word.end]
        else:
            data, charset = data + content, word.charset.lower()
        at = word.end
    if charset:
        yield decode(data, charset)
    yield text[at:]


def _is_known(charset: str) -> bool:
    try:
        decode(b"", charset)
    except UnknownCharsetError:
        return False
    return True


def _octets_of(encoding: str, text: str) -> bytes | None:
    """Return the bytes of a word; None when it is not valid."""
    if not text.isascii():
        return None
    if encoding in "Qq":
        return quopri.decodestring(text.replace(" ", "_"), header=True)
    packed = "".join(text.split())
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    except binascii.Error:
        return None


def _tokens(field: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(field):
        if field[at] == "(":
            end = _comment_end(field, at)
            yield "comment", field[at:end]
        else:
            found = _ITEM.match(field, at)
            assert found is not None and found.lastgroup is not None, (
                "every character begins a token"
            )
            end = found.end()
            yield found.lastgroup, found[0]
        at = end


def _comment_end(field: str, at: int) -> int:
    depth = 0
    while at < len(field):
        match field[at]:
            case "\\":
                at += 1
            case "(":
                depth += 1
            case ")":
                depth -= 1
                if not depth:
                    return at + 1
        at += 1
    return len(field)


def _mailbox(item: list[tuple[str, str]]) -> str:
    """Return one mailbox: its name, quoted where necessary, and its address as written."""
    has_angle = any(kind == "angle" for kind, _ in item)
    shown: list[str] = []
    phrase: list[tuple[str, str]] = []
    for kind, text in item:
        if kind == "angle":
            shown += [_name(phrase), _clean(text)]
            phrase = []
        elif kind == "comment":
            inner = _clean("".join(_decoded(text[1:].removesuffix(")"))))
            shown += [
                _name(phrase) if has_angle else _address(phrase),
                "(" + re.sub(r"([()\\])", r"\\\1", inner) + ")",
            ]
            phrase = []
        else:
            phrase.append((kind, text))
    shown.append(_name(phrase) if has_angle else _address(phrase))
    return " ".join(text for text in shown if text)


def _name(phrase: list[tuple[str, str]]) -> str:
    was_quoted = any(kind == "quoted" for kind, _ in phrase)
    decoded = _clean("".join("".join(_decoded(_unquoted(kind, text))) for kind, text in phrase))
    if decoded and (was_quoted or _SPECIALS.search(decoded)):
        return '"' + re.sub(r'(["\\])', r"\\\1", decoded) + '"'
    return decoded


def _address(phrase: list[tuple[str, str]]) -> str:
    """Return an item without angle brackets: an address as written, or words that must not look
    like one."""
    text = "".join(part for _, part in phrase)
    if next(encoded_words(text), None) is None:
        return _clean(text)
    return _name(phrase)


def _unquoted(kind: str, text: str) -> str:
    if kind != "quoted":
        return text
    inner = text[1:].removesuffix('"') if len(text) > 1 else ""
    return re.sub(r"\\(.)", r"\1", inner, flags=re.DOTALL)


def _clean(text: str) -> str:
    """Return the text on one line, without control characters, changes of direction and lone
    surrogates."""
    text = _CONTROLS.sub("", _LINE_ENDS.sub(" ", text))
    return text.encode("utf-8", "replace").decode().strip()
