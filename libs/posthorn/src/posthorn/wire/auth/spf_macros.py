"""Macros of SPF records: their syntax and expansion (RFC 7208 §7).

Rules:

- A string is parsed once, into literal pieces and macros; it is expanded for every check.
- ``%{c}``, ``%{r}`` and ``%{t}`` are permitted in the text of an explanation only (§7.2).
- An upper-case letter expands like the lower-case one, and is then URL-escaped (§7.3).
- A name of more than 253 characters loses labels at its left (§7.3).
- A local part that is not ASCII cannot be part of a name: what depends on it matches nothing (RFC
  8616 §4).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

MOST_NAME_CHARACTERS = 253
"""Characters of a domain name, without a final dot."""

_MACRO = re.compile(r"%(?:([%_-])|\{([A-Za-z])(\d*)([rR]?)([.\-+,/_=]*)\})")
_LETTERS = frozenset("slodipvh")
_EXPLANATION_LETTERS = _LETTERS | frozenset("crt")
_ESCAPES = {"%": "%", "_": " ", "-": "%20"}
_PRINTABLE = re.compile(r"[\x21-\x7e]*\Z")
_TEXT = re.compile(r"[\x20-\x7e]*\Z")
_END = re.compile(r"\.(?=[A-Za-z0-9-]*[A-Za-z-])[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.?\Z")
_ALL_LABELS = 255  # more than any name has


class SpfError(ValueError):
    """The record, or one that it refers to, is invalid; the text says why."""


@dataclass(frozen=True, slots=True)
class Macro:
    """One ``%{…}``."""

    letter: str
    """In lower case."""
    labels: int
    """How many labels at the right are kept."""
    is_reversed: bool
    delimiters: str
    is_escaped: bool
    """Written in upper case: the value is URL-escaped."""


@dataclass(frozen=True, slots=True)
class MacroString:
    """A string that may contain macros."""

    text: str
    """As written in the record."""
    pieces: tuple[str | Macro, ...]

    @property
    def literal(self) -> str | None:
        """The string, if it is independent of the message; else None."""
        if not self.pieces:
            return ""
        return self.pieces[0] if len(self.pieces) == 1 and isinstance(self.pieces[0], str) else None

    @property
    def letters(self) -> frozenset[str]:
        """The letters of its macros."""
        return frozenset(piece.letter for piece in self.pieces if isinstance(piece, Macro))


def parse_macros(text: str, *, in_explanation: bool = False) -> MacroString:
    """Parse a ``macro-string``, or with ``in_explanation`` an ``explain-string``, which may contain
    spaces. Raises SpfError."""
    if (_TEXT if in_explanation else _PRINTABLE).match(text) is None:
        raise SpfError("it contains a character that is not permitted")
    letters = _EXPLANATION_LETTERS if in_explanation else _LETTERS
    pieces: list[str | Macro] = []
    literal, at = "", 0
    while (percent := text.find("%", at)) >= 0:
        found = _MACRO.match(text, percent)
        if found is None:
            raise SpfError("a % does not begin a macro")
        literal += text[at:percent]
        at = found.end()
        if found[1] is not None:
            literal += _ESCAPES[found[1]]
            continue
        letter, digits = found[2].lower(), found[3].lstrip("0")
        if letter not in letters or (found[3] and not digits):
            raise SpfError(f"{found[0][:20]} is not a valid macro")
        if literal:
            pieces.append(literal)
            literal = ""
        labels = int(digits) if digits and len(digits) <= 3 else _ALL_LABELS
        pieces.append(
            Macro(letter, labels, bool(found[4]), found[5] or ".", is_escaped=found[2].isupper())
        )
    literal += text[at:]
    if literal:
        pieces.append(literal)
    return MacroString(text, tuple(pieces))


def parse_domain_spec(text: str) -> MacroString:
    """Parse a ``domain-spec``: a macro string that ends in a macro or a top-level label (§7.1).
    Raises SpfError."""
    parsed = parse_macros(text)
    ends_in_macro = bool(parsed.pieces) and isinstance(parsed.pieces[-1], Macro)
    escape_at_end = text[-2:] in ("%%", "%_", "%-")
    if not (ends_in_macro or escape_at_end or _END.search(text)):
        raise SpfError(f"{text[:80] or 'an empty string'} is not a domain name")
    return parsed


def expand(string: MacroString, values: Mapping[str, str]) -> str | None:
    """Return the string with the values of its letters; None if a value is not ASCII."""
    if (literal := string.literal) is not None:
        return literal
    expanded = "".join(
        piece if isinstance(piece, str) else _value(piece, values[piece.letter])
        for piece in string.pieces
    )
    return expanded if expanded.isascii() else None


def shortened(name: str) -> str:
    """Return a domain name without a final dot and, if it is too long, without labels at its left
    (§7.3)."""
    name = name.removesuffix(".")
    if len(name) > MOST_NAME_CHARACTERS:
        dot = name.find(".", len(name) - MOST_NAME_CHARACTERS - 1)
        return name[dot + 1 :] if dot >= 0 else name[-MOST_NAME_CHARACTERS:]
    return name


def _value(macro: Macro, value: str) -> str:
    if macro.is_reversed or macro.labels < _ALL_LABELS or macro.delimiters != ".":
        labels = re.split(f"[{re.escape(macro.delimiters)}]", value)
        if macro.is_reversed:
            labels.reverse()
        value = ".".join(labels[-macro.labels :])
    return quote(value, safe="-._~") if macro.is_escaped else value
