"""Sequence sets, mailbox names and dates of IMAP."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn.wire.imap.dates import format_date_time, parse_date, parse_date_time
from posthorn.wire.imap.mailbox_names import (
    InvalidNameError,
    decode_mutf7,
    decode_name,
    encode_mutf7,
    encode_name,
    matches,
)
from posthorn.wire.imap.sequence_set import (
    format_numbers,
    format_ranges,
    merge,
    parse_sequence_set,
    ranges_of,
)


@pytest.mark.parametrize(
    ("text", "largest", "ranges"),
    [
        (b"1", 10, [(1, 1)]),
        (b"9:3", 10, [(3, 9)]),
        (b"*", 10, [(10, 10)]),
        (b"20:*", 10, [(10, 20)]),
        (b"*:5", 10, [(5, 10)]),
        (b"5,1:3,4,2", 10, [(1, 5)]),
        (b"*", 0, []),
        (b"5:*", 0, [(5, 5)]),
        (b"1:4294967295", 10, [(1, 4294967295)]),
    ],
)
def test_sequence_sets(text: bytes, largest: int, ranges: list[tuple[int, int]]) -> None:
    assert parse_sequence_set(text).resolve(largest) == ranges


@given(st.lists(st.integers(1, 60), max_size=40))
def test_ranges_hold_the_same_numbers(numbers: list[int]) -> None:
    pairs = merge([(number, number) for number in numbers])
    assert [n for low, high in pairs for n in range(low, high + 1)] == sorted(set(numbers))
    assert ranges_of(sorted(set(numbers))) == pairs
    if pairs:
        assert parse_sequence_set(format_ranges(pairs)).resolve(60) == pairs


def test_numbers_keep_their_order() -> None:
    assert format_numbers([3, 4, 5, 1, 9]) == b"3:5,1,9"


@pytest.mark.parametrize(
    ("name", "octets"),
    [
        ("INBOX", b"INBOX"),
        ("a&b", b"a&-b"),
        ("\u00e4", b"&AOQ-"),
        ("\U0001f600/x", b"&2D3eAA-/x"),  # stalwartlabs/stalwart#2564
        ("\u53f0\u5317", b"&U,BTFw-"),
    ],
)
def test_modified_utf7(name: str, octets: bytes) -> None:
    assert encode_mutf7(name) == octets
    assert decode_mutf7(octets) == name


@given(st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\u2028\u2029")))
def test_names_come_back(name: str) -> None:  # stalwartlabs/stalwart#1697
    expected = unicodedata.normalize("NFC", name)
    if len(expected.encode()) > 1024:
        return
    first, slash, rest = expected.partition("/")
    if first.isascii() and first.upper() == "INBOX":
        expected = "INBOX" + slash + rest
    for utf8 in (False, True):
        once = decode_name(encode_name(name, utf8=utf8), utf8=utf8)
        assert once == expected
        assert decode_name(encode_name(once, utf8=utf8), utf8=utf8) == once


@given(st.binary(max_size=30))
def test_a_name_decodes_to_what_encodes_to_it(octets: bytes) -> None:
    try:
        name = decode_mutf7(octets)
    except InvalidNameError:
        return
    assert encode_mutf7(name) == octets


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("*", "a/b", True), ("%", "a/b", False), ("%", "a", True), ("a/%", "a/b", True),
        ("a%", "ab/c", False), ("a*", "ab/c", True), ("*c", "ab/c", True), ("%/%", "ab/c", True),
        ("inbox", "INBOX", True), ("inBOX/%", "INBOX/x", True), ("i%", "INBOX", True),
        ("a", "A", False), ("", "", True), ("", "a", False), ("*%*", "", True), ("a%%b", "ab", True),
        ("a.c", "abc", False),
    ],
)  # fmt: skip
def test_patterns(pattern: str, name: str, expected: bool) -> None:
    assert matches(pattern, name) == expected


def test_patterns_take_bounded_time() -> None:
    assert not matches("*a" * 500 + "b", "a" * 1000)


def test_dates() -> None:
    assert parse_date(b"1-jan-2020").isoformat() == "2020-01-01"
    moment = parse_date_time(b" 1-Jan-2020 09:08:60 -0130")
    assert moment == datetime(2020, 1, 1, 10, 38, 59, tzinfo=UTC)
    assert format_date_time(moment) == b'"01-Jan-2020 09:08:59 -0130"'  # scanner/asimap#458
    assert format_date_time(datetime(2020, 1, 1)) == b'"01-Jan-2020 00:00:00 +0000"'  # noqa: DTZ001


@given(
    st.datetimes(
        datetime(2, 1, 1),  # noqa: DTZ001
        datetime(9998, 12, 31),  # noqa: DTZ001
        timezones=st.integers(-1439, 1439).map(lambda m: timezone(timedelta(minutes=m))),
    )
)
def test_dates_come_back(moment: datetime) -> None:
    text = format_date_time(moment)
    assert len(text) == 28
    assert parse_date_time(text[1:-1]) == moment.replace(microsecond=0)


@given(st.binary(max_size=30))
def test_no_date_raises_anything_but_value_error(octets: bytes) -> None:
    for parse in (parse_date, parse_date_time):
        try:
            parse(octets)
        except ValueError:
            continue
