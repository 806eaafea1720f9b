"""What a search for text finds in a message, the Date field, and base subjects."""

from __future__ import annotations

import base64
import quopri
from functools import partial

import pytest

from posthorn.wire.message.base_subject import base_subject
from posthorn.wire.message.date_field import sent_at
from posthorn.wire.message.mime_content import read_content
from posthorn.wire.message.searchable import (
    Found,
    SearchedHeader,
    decoded_text,
    field_values,
    find_in,
    fold,
    shown_text,
)
from tests.support.cpu_cost import cost
from tests.support.malformed import MALFORMED


def found(message: bytes, text: str) -> tuple[bool, bool]:
    """Whether BODY and TEXT find the text, apart from the message's own header."""
    wanted = fold(text)
    outcome = find_in(message, {wanted}, {wanted})
    return wanted in outcome.body, wanted in outcome.text


def part(content_type: str, text: bytes, encoding: str = "8bit") -> bytes:
    head = f"Subject: s\r\nContent-Type: {content_type}\r\nContent-Transfer-Encoding: {encoding}"
    return head.encode() + b"\r\n\r\n" + text


def test_fold_ignores_case_and_forms_of_the_same_characters() -> None:
    assert fold("HeLLo") == "hello"
    assert fold("Straße") == fold("STRASSE")
    assert fold("cafe\u0301") == fold("CAFÉ")
    assert fold("\uff21\uff22\uff23") == "abc"
    assert fold("ΣΊΣΥΦΟΣ") == fold("σίσυφος")
    assert fold("cafe") != fold("café")
    for length in range(250, 260):  # in pieces as in one
        assert fold("x" * length + "e\u0301 \uff21" * 300) == "x" * length + "é a" * 300


@pytest.mark.parametrize(
    "text", ["a" + "\u0301\u0316" * 40_000, "\ufdfa" * 80_000, "\u0390\u0316" * 60_000]
)
def test_any_number_of_marks_costs_little_time(text: str) -> None:
    """They are sorted by Python with its lock held: nothing else of the process runs meanwhile."""
    assert cost(partial(fold, text), 1) < 1


def test_fields_are_unfolded_and_decoded() -> None:
    """jstedfast/MailKit#1806: a subject that was folded within the text searched for."""
    header = SearchedHeader(
        b"Subject: hello\r\n brave\r\n\tnew =?utf-8?q?w=C3=B6?= =?utf-8?q?rld?=\r\n"
        b"X-Subject: other\r\nReceived: a\r\nReceived: b\r\nX-Empty:\r\nFrom : Ada <a@example.test>\r\n\r\n"
    )
    assert header.has("subject", fold("HELLO brave new wörld"))
    assert not header.has("subject", "other")
    assert header.has("received", "b")
    assert header.has("x-empty", "")
    assert not header.has("x-empty", "x")
    assert not header.has("x-none", "")
    assert header.has("from", "ada <a@")
    assert "subject: hello brave new wörld" in header.text
    assert list(field_values(b"A: 1\nB: 2\n C: 3\nb:4", "b")) == ["2 C: 3", "4"]
    assert list(field_values(b"A: 1\r\n", "")) == []


@pytest.mark.parametrize(
    "charset", ["utf-8", "iso-8859-1", "windows-1252", "utf-16", "iso-2022-jp"]
)
@pytest.mark.parametrize("encoding", ["8bit", "base64", "quoted-printable"])
def test_bodies_are_decoded(charset: str, encoding: str) -> None:
    text = "こんにちは SEKAI" if charset == "iso-2022-jp" else "Grüße aus Köln"
    octets = text.encode(charset)
    if encoding == "base64":
        octets = base64.encodebytes(octets).replace(b"\n", b"\r\n")
    elif encoding == "quoted-printable":
        octets = quopri.encodestring(octets)
    message = part(f"text/plain; charset={charset}", octets, encoding)
    assert found(message, text.upper()) == (True, True)
    assert found(message, text + "x") == (False, False)


def test_a_text_is_found_within_words_and_over_soft_line_breaks() -> None:
    message = part("text/plain", b"unbeliev=\r\nable", "quoted-printable")
    assert found(message, "LIEVAB") == (True, True)


def test_html_is_what_is_shown_and_where_links_lead() -> None:
    markup = (
        "<html><head><style>p { color: red }</style></head><!-- secret --><body>"
        "<p>Gr&uuml;&szlig;e an <b>Kö</b>ln<br>zwei<table><tr><td>drei</td><td>vier</td></table>"
        '<a href="https://link.example.test/?a=1&amp;b=2">hier</a><script>var x;</script></body>'
    )
    message = part("text/html; charset=utf-8", markup.encode())
    for text in ("grüsse an köln", "hier", "link.example.test/?a=1&b=2", "drei"):
        assert found(message, text) == (True, True), text
    for text in ("color", "secret", "<b>", "table", "var x", "dreivier", "kölnzwei"):
        assert found(message, text) == (False, False), text
    assert shown_text("a < b and c > d <unclosed") == "a < b and c > d <unclosed"
    assert shown_text("a<style>b") == "a"


def test_text_looks_into_headers_of_parts_and_body_does_not() -> None:
    message = (
        b"Subject: outer\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n--b\r\n\r\nfirst\r\n--b\r\n"
        b"Content-Type: application/pdf; name=offer.pdf\r\nContent-Transfer-Encoding: base64\r\n"
        b"Content-Disposition: attachment; filename*=utf-8''Z%C3%BCrich.pdf\r\n\r\nSGVsbG8=\r\n--b\r\n"
        b"Content-Type: message/rfc822\r\n\r\nSubject: inner =?utf-8?q?=C3=A4?=\r\n\r\nforwarded words\r\n--b--\r\n"
    )
    assert found(message, "first") == (True, True)
    assert found(message, "forwarded words") == (True, True)
    assert found(message, "offer.pdf") == (False, True)
    assert found(message, "zürich.pdf") == (False, True)
    assert found(message, "inner ä") == (False, True)
    assert found(message, "hello") == (False, False)  # no text part
    assert found(message, "outer") == (False, False)  # its own header is looked at apart


def test_a_plain_message_is_not_taken_apart_for_what_is_not_in_it() -> None:
    message = b"Subject: s\r\n\r\n" + b"some words of text\r\n" * 300
    assert find_in(message, {"absent"}, {"wordsoftext"}) == Found()
    assert found(message, "of text\r\nsome") == (True, True)
    folded = b"Subject: s\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nX-A: one\r\n two\r\n\r\nx\r\n--b--"
    assert found(folded, "one two") == (False, True)


def test_nothing_fails_and_time_is_linear() -> None:
    def whole_text(header: bytes) -> str:
        return SearchedHeader(header).text

    for text in (
        b"<" * 200_000,
        b"<a " * 70_000,
        b"<style" * 30_000,
        b"&" * 200_000,
        b"href=" * 40_000,
    ):
        assert cost(partial(found, part("text/html", text), "needle"), 4) < 4
    for header in (
        b"Subject: " + b"=?" * 100_000,
        b"\r\n " * 60_000,
        b"a:" * 90_000,
        b" " * 200_000,
    ):
        assert not SearchedHeader(header).has("subject", "needle")
        assert "needle" not in SearchedHeader(header).text
        assert cost(partial(whole_text, header), 4) < 4
    for charset in ("none-such", "utf-16", "idna", "hz", ""):
        decoded_text(
            read_content(f"Content-Type: text/plain; charset={charset}\r\n".encode()),
            bytes(range(256)),
        )
        decoded_text(
            read_content(f"Content-Type: text/html; charset={charset}\r\n".encode()),
            b"\xff\xfe\x00",
        )


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_messages_are_looked_at_whole(name: str) -> None:
    message = MALFORMED[name]
    outcome = find_in(message, {"\uffff"}, {"\uffff", ""})
    assert "\uffff" not in outcome.text
    header = SearchedHeader(message)
    assert not header.has("subject", "\uffff")
    assert "\uffff" not in header.text


@pytest.mark.parametrize(
    ("field", "moment"),
    [
        ("Mon, 2 Jan 2006 15:04:05 -0700", "2006-01-02T15:04:05-07:00"),
        ("2 Jan 2006 15:04 +0100 (CET)", "2006-01-02T15:04:00+01:00"),
        ("Mon,02 January 2006 15:04:60 GMT", "2006-01-02T15:04:59+00:00"),
        ("Mon Jan  2 15:04:05 2006", "2006-01-02T15:04:05+00:00"),
        ("2 Jan 06 01:02:03 EST", "2006-01-02T01:02:03-05:00"),
        ("2 Jan 99", "1999-01-02T00:00:00+00:00"),
        ("2 Jan 2006 25:00:00 +0000", "2006-01-02T00:00:00+00:00"),
        ("2-Jan-2006 10:00:00 +2500", "2006-01-02T10:00:00+00:00"),
    ],
)
def test_dates_as_senders_write_them(field: str, moment: str) -> None:
    found_ = sent_at(field)
    assert found_ is not None
    assert found_.isoformat() == moment


@pytest.mark.parametrize(
    "field", ["", "yesterday", "31 Feb 2020 10:00:00 +0000", "1 Foo 2020", "2 Jan 0001"]
)
def test_dates_that_are_none(field: str) -> None:
    assert sent_at(field) is None


def test_subjects_of_any_length_cost_little_time() -> None:
    for piece in ("[a]", "re:", "[fwd:", "(fwd)", "=?utf-8?q?a?= ", "[", " "):
        assert cost(partial(base_subject, piece * 50_000), 1) < 1


@pytest.mark.parametrize(
    ("subject", "base", "is_reply"),
    [
        ("Hello", "Hello", False),
        ("Re: Hello", "Hello", True),
        ("RE:re : Fwd: [list] Re: Hello  there (fwd) (FWD)", "Hello there", True),
        ("[list] Hello", "Hello", False),
        ("[only]", "[only]", False),
        ("re[2]: [a] [b] Hello", "Hello", True),
        ("[Fwd: [x] Re: Hello]", "Hello", True),
        ("=?utf-8?q?Re=3A_Gr=C3=BC=C3=9Fe?=", "Grüße", True),
        ("Re:", "", True),
        ("Reply: no", "Reply: no", False),
        ("fw: a", "a", True),
        ("", "", False),
    ],
)
def test_rfc5256_base_subject(subject: str, base: str, is_reply: bool) -> None:
    assert base_subject(subject) == (base, is_reply)
