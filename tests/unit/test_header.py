"""The header scan: what it finds, and that no octets whatever make it fail."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from posthorn.wire.message.header import (
    FIELD_LIMIT,
    SCAN_LIMIT,
    Summary,
    header_end,
    scan_header,
    starts_with_field,
)
from tests.support.cpu_cost import cost

MESSAGE = (
    b"Received: from a.test by b.test; today\r\n"
    b"received : from c.test\r\n\tby a.test; today\r\n"
    b"From: Alice <alice@example.test>\r\n"
    b"SUBJECT: one\r\n two\r\n\tthree\r\n"
    b"Date:Mon, 1 Jan 2024 00:00:00 +0000\r\n"
    b"Message-ID: <1@example.test>\r\n"
    b"Subject: another\r\n"
    b"X-Received: no\r\n"
    b"\r\n"
    b"Received: in the body\r\nSubject: in the body\r\n"
)


def test_a_message_as_it_comes() -> None:
    scan = scan_header(MESSAGE)
    assert scan.summary == Summary(
        "one two three",
        "Alice <alice@example.test>",
        "Mon, 1 Jan 2024 00:00:00 +0000",
        "<1@example.test>",
    )
    assert (scan.received, scan.starts_with_field, scan.has_separator) == (2, True, True)


def test_the_end_of_the_header_block() -> None:
    assert MESSAGE[header_end(MESSAGE) :].startswith(b"Received: in the body")
    assert header_end(b"\r\nbody") == 2
    assert header_end(b"Subject: no end\r\n") == -1
    assert header_end(b"") == -1


@pytest.mark.parametrize(
    ("head", "field"),
    [
        (b"Subject: x", True),
        (b"X-1!#: x", True),
        (b"Subject : obsolete blank", True),
        (b":", False),
        (b" Subject: x", False),
        (b"no colon\r\nSubject: x", False),
        (b"two words: x", False),
        (b"\xc3\xa4: x", False),
        (b"\r\n", False),
        (b"", False),
    ],
)
def test_whether_the_first_line_is_a_field(head: bytes, field: bool) -> None:
    assert starts_with_field(head) is field
    assert scan_header(head).starts_with_field is field


def test_odd_octets_in_fields_become_text_that_can_be_stored() -> None:
    scan = scan_header(b"Subject: a\0b\xffc\rd =?utf-8?q?=C3=A4?= \xc3\xa4 \r\n\r\n")
    assert scan.summary.subject == "abÿc d =?utf-8?q?=C3=A4?= ä"


def test_raw_octets_are_read_by_the_charset_of_the_text() -> None:
    head = 'Subject: Привет\r\nContent-Type: text/plain;\r\n format=flowed; charset="koi8-r"\r\n\r\n'.encode(
        "koi8-r"
    )
    assert scan_header(head).summary.subject == "Привет"
    assert scan_header("Subject: Grüße – x\r\n\r\n".encode("cp1252")).summary.subject == "Grüße – x"  # noqa: RUF001


def test_a_fold_is_one_blank() -> None:
    assert (
        scan_header(b"Subject: one\r\n\t  two\r\n three\r\n\r\n").summary.subject == "one two three"
    )


def test_an_author_keeps_the_address_however_long_the_name() -> None:
    found = scan_header(
        b"From: " + b"=?utf-8?q?x?= " * 1000 + b"<a@example.org>\r\n\r\n"
    ).summary.from_
    assert (len(found), found.endswith(" <a@example.org>")) == (FIELD_LIMIT, True)


def test_a_long_field_is_cut() -> None:
    assert len(scan_header(b"Subject: " + b"x" * 5000 + b"\r\n\r\n").summary.subject) == FIELD_LIMIT


def test_a_header_block_without_end_is_read_up_to_the_limit() -> None:
    line = b"X-Filler: " + b"y" * 88 + b"\r\n"
    endless = line * (SCAN_LIMIT // len(line) + 50) + b"Subject: too far away\r\n\r\n"
    scan = scan_header(endless)
    assert not scan.has_separator
    assert scan.summary.subject == ""


@pytest.mark.parametrize(
    "pattern",
    [b"Subject: " + b"\r\n " * 40_000, b"received" * 9000, b"a" * 70_000, b"Subject:\r" * 9000],
)
def test_awkward_octets_take_no_time(pattern: bytes) -> None:
    # hundredths of a second; what grew with the square of the length took a minute
    assert cost(lambda: scan_header(pattern), 5) < 5


_LINES = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b"Subject: x",
                b"From:",
                b" folded",
                b"\tfolded",
                b"",
                b"Received: y",
                b"Date\t: z",
                b"\r",
                b"\n",
            ]
        ),
        st.binary(max_size=40),
    ),
    max_size=12,
)


@given(st.one_of(st.binary(max_size=300), _LINES.map(b"\r\n".join), _LINES.map(b"\n".join)))
@example(b"\r\n\r\n")
def test_no_octets_make_it_fail(head: bytes) -> None:
    scan = scan_header(head)
    end = header_end(head)
    assert scan.has_separator == (end >= 0)
    assert scan.starts_with_field == starts_with_field(head)
    assert 0 <= scan.received <= head.lower().count(b"received")
    for text in (
        scan.summary.subject,
        scan.summary.from_,
        scan.summary.date,
        scan.summary.message_id,
    ):
        assert not {"\0", "\r", "\n"} & set(text)
        text.encode()
        assert len(text) <= FIELD_LIMIT
    if end >= 0:
        assert scan_header(head[:end] + b"Subject: of the body\r\n") == scan, (
            "the body does not matter"
        )


@given(st.integers(0, len(MESSAGE)))
def test_a_message_cut_anywhere_is_scanned(length: int) -> None:
    scan = scan_header(MESSAGE[:length])
    assert scan.received <= 2
    if length >= header_end(MESSAGE):
        assert scan == scan_header(MESSAGE)
