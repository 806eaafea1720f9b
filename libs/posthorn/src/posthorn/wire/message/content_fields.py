"""Header fields that say how a body is to be read, parsed strictly (RFC 2045, RFC 2046).

Where programs could read a field differently it is Inconvertible or empty: nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_LONGEST_VALUE = 4096  # bytes of a field that is parsed: its cost grows faster than its length
_LINE = rb"[^\r]*(?:\r(?!\n)[^\r]*)*"
FIELD = re.compile(
    rb"([\x21-\x39\x3b-\x7e]+)[ \t]*:(%b(?:\r\n[ \t]%b)*)(?:\r\n|\Z)" % (_LINE, _LINE)
)
_TYPE = re.compile(
    rb"[ \t]*([!#-'*+\-0-9A-Z^-~.]+)[ \t]*/[ \t]*([!#-'*+\-0-9A-Z^-~.]+)", re.IGNORECASE
)
_PARAMETER = re.compile(rb';[ \t]*([^\s=;"]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^;"]*))')
_OUTSIDE = re.compile(
    rb'"(?:[^"\\]|\\.)*"|\\.|[^("\\]+|.', re.DOTALL
)  # a quoted string, a bracket, or what lies between
_WITHIN = re.compile(rb"\\.|[()]|[^()\\]+|.", re.DOTALL)  # in a comment quotes mean nothing


class Inconvertible(ValueError):
    """The message cannot be converted to the form that the host accepts. The text says why, for
    people."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a header, and where it stands."""

    name: bytes
    """In lower case."""
    value: bytes
    begin: int
    end: int


def only_value(fields: Sequence[Field], name: bytes) -> bytes:
    """Return the value of a field, empty where there is none. Raises Inconvertible for several,
    which are ambiguous."""
    values = [field.value for field in fields if field.name == name]
    if len(values) > 1:
        raise Inconvertible(
            "its header, or that of a part, has a repeated field that may occur only once"
        )
    if values and len(values[0]) > _LONGEST_VALUE:
        raise Inconvertible("a field of its header is too long to be read")
    return values[0].replace(b"\r\n", b"") if values else b""


def without_comments(value: bytes) -> bytes:
    """Remove comments (RFC 5322 §3.2.2); quoted strings stay. One pass, however deep they are."""
    depth, at, kept = 0, 0, bytearray()
    while at < len(value):
        found = (_WITHIN if depth else _OUTSIDE).match(value, at)
        assert found is not None
        at, token = found.end(), found[0]
        if token == b"(":
            depth += 1
        elif token == b")" and depth:
            depth -= 1
            kept += b" " if not depth else b""
        elif not depth:
            kept += token
    return bytes(kept)


def content_type(value: bytes) -> tuple[bytes, bytes]:
    """Return type and subtype in lower case, and the parameters; empty where none can be read."""
    bare = without_comments(value)
    found = _TYPE.match(bare)
    return (b"", b"") if found is None else (b"/".join(found.groups()).lower(), bare[found.end() :])


def boundary_of(parameters: bytes) -> bytes:
    """Return the boundary among the parameters; empty where there is not exactly one."""
    found = [
        (quoted, token)
        for name, quoted, token in _PARAMETER.findall(parameters)
        if name.lower() == b"boundary"
    ]
    if len(found) != 1:
        return b""
    quoted, token = found[0]
    return (re.sub(rb"\\(.)", rb"\1", quoted) if quoted else token).rstrip()
