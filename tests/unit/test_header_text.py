"""Header fields made from text: what a program names is what every reader finds, whatever the
display names hold."""

from __future__ import annotations

import email
import email.policy
from email.header import decode_header, make_header

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from posthorn.wire.message.header_text import (
    LONGEST_LINE_BYTES,
    WordTooLongError,
    address_field,
    text_field,
)
from posthorn.wire.message.submission import authors_of

_LONG = "Customer service of the northern districts and the whole town at the sea <evil@attacker.test>, support of the same"
_PRINTABLE = st.characters(min_codepoint=0x20, exclude_categories=("Cs", "Cc", "Zl", "Zp"))
_NAMES = st.lists(
    st.sampled_from([*' "\\<>@,;:()[]=?.', "=?utf-8?q?", "?=", "a@b.test", "<evil@attacker.test>"])
    | st.text(_PRINTABLE, max_size=9),
    max_size=40,
).map("".join)


def _folded(text: str) -> str:
    return " ".join(word for word in text.split(" ") if word)


@given(st.lists(_NAMES, min_size=1, max_size=4))
@example([_LONG])
@example(['a"b\\', "x, y <z@evil.test>", "=?utf-8?q?=0D=0ABcc:_evil@attacker.test?=", "ü" * 60])
def test_names_never_become_addresses(names: list[str]) -> None:
    mailboxes = [(name, f"user{place}@example.test") for place, name in enumerate(names)]
    field = address_field("Reply-To", mailboxes)
    assert [str(found) for found in authors_of(field.encode())] == [
        address for _, address in mailboxes
    ]
    lines = field.removesuffix("\r\n").split("\r\n")
    assert all(
        len(line.encode()) <= LONGEST_LINE_BYTES and line.strip() and "\r" not in line
        for line in lines
    )
    assert all(line.startswith(" ") for line in lines[1:])


@given(_NAMES)
@example(_LONG)
@example("=?utf-8?q?=0D=0A?=")
@example('"quoted"')
def test_names_are_shown_as_they_were_given(name: str) -> None:
    field = address_field("To", [(name, "user@example.test")]).encode()
    found = email.message_from_bytes(field + b"\r\n", policy=email.policy.compat32)["To"]
    shown = found[: found.rindex("user@example.test")].removesuffix("<").replace("\n", "").strip()
    if shown.startswith('"'):
        shown = shown[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    elif "=?" in shown:
        shown = str(make_header(decode_header(shown)))
    assert shown == _folded(name)


@given(st.text(_PRINTABLE, max_size=300))
@example("=?utf-8?q?=0D=0A?= stays one field")
def test_a_text_field_is_one_field(value: str) -> None:
    try:
        field = text_field("Subject", value)
    except WordTooLongError:
        assert any(len(word) > 900 for word in value.split(" "))
        return
    assert field.isascii()
    lines = field.removesuffix("\r\n").split("\r\n")
    assert all(line.startswith(" ") and line.strip() for line in lines[1:])
    if not value.isascii():  # RFC 2047 §2
        assert all(len(word) <= 75 for word in field.split() if word.startswith("=?"))
    shown = field.removeprefix("Subject:").replace("\r\n", "").strip()
    if not value.isascii():
        assert str(make_header(decode_header(shown))) == value
    else:
        assert shown == _folded(value)


def test_a_word_longer_than_a_line_is_refused() -> None:
    with pytest.raises(WordTooLongError):
        text_field("X-Token", "x" * 1000)


def test_short_names_stay_readable() -> None:
    assert address_field("To", [("Alice", "a@b.test"), ("Doe, John", "j@b.test")]) == (
        'To: Alice <a@b.test>, "Doe, John" <j@b.test>\r\n'
    )
