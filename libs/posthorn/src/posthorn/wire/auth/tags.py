"""Tag lists (RFC 6376 §3.2) of signatures and key records, and their base64.

Values are bytes, never decoded text. Tag names are case-sensitive. A list with an empty element, a
name used twice, or a control character is invalid as a whole.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass

MOST_TAGS = 100

_SHOWN = 20
_SPACE = b" \t\r\n"
_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9_]*\Z")
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class TagError(ValueError):
    """The text is not a tag list, or a value is not what the tag allows; says why."""


@dataclass(frozen=True, slots=True)
class Tags:
    """A tag list that was read."""

    values: dict[bytes, bytes]
    """In the order of the text, without white space at either end."""
    signature: tuple[int, int]
    """Where the value of ``b=`` begins and ends in the text, white space included; (0, 0) without
    one."""

    def get(self, name: bytes) -> bytes | None:
        """Return a tag's value."""
        return self.values.get(name)

    def required(self, name: bytes) -> bytes:
        """Return the value of a tag that must be there and not be empty. Raises TagError."""
        value = self.values.get(name)
        if not value:
            raise TagError(f"the tag {name.decode()} is {'missing' if value is None else 'empty'}")
        return value

    def number(self, name: bytes, digits: int) -> int | None:
        """Return a decimal number of at most so many digits; None if the tag is missing. Raises
        TagError."""
        value = self.values.get(name)
        if value is None:
            return None
        if not value.isdigit() or len(value) > digits:
            raise TagError(f"the tag {name.decode()} is not a number")
        return int(value)


def parse_tags(text: bytes) -> Tags:
    """Return the tags of a text. Raises TagError."""
    if _CONTROL.search(text):
        raise TagError("control characters")
    elements = text.split(b";")
    if not elements[-1].strip(_SPACE):
        elements.pop()
    if not elements or len(elements) > MOST_TAGS:
        raise TagError("no tags" if not elements else "too many tags")
    values: dict[bytes, bytes] = {}
    signature = (0, 0)
    start = 0
    for element in elements:
        name, equals, value = element.partition(b"=")
        end = start + len(element)
        name = name.strip(_SPACE)
        if not equals or not (name.isalpha() or _NAME.match(name)):
            raise TagError("an element that is not a tag")
        if name in values:
            raise TagError(f"the tag {name[:_SHOWN].decode()} occurs twice")
        values[name] = value.strip(_SPACE)
        if name == b"b":
            signature = (end - len(value), end)
        start = end + 1
    return Tags(values, signature)


def without_space(value: bytes) -> bytes:
    """Return a value without white space, which may fold base64 anywhere."""
    return value.translate(None, _SPACE)


def decode_base64(name: str, value: bytes) -> bytes:
    """Return the bytes that a value stands for. Raises TagError."""
    try:
        return binascii.a2b_base64(without_space(value), strict_mode=True)
    except ValueError as error:
        raise TagError(f"the tag {name} is not base64") from error


def split_list(value: bytes) -> list[bytes]:
    """Return the elements of a colon-separated list, without white space at either end."""
    return [element.strip(_SPACE) for element in value.split(b":")]
