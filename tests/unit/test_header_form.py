"""Header fields in ASCII and in lines that can travel: they say what they said, or stay as they
are."""

from __future__ import annotations

import email
import email.policy
from email.header import decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn.wire.message.header_form import encoded, folded, needs_utf8
from posthorn.wire.message.submission import authors_of


def read(field: bytes) -> str:
    message = email.message_from_bytes(field + b"\r\n\r\n", policy=email.policy.default)
    return str(message.values()[0])


@pytest.mark.parametrize(
    "field",
    [
        "Subject: Grüße",
        "Subject:Grüße",
        "Subject: plain Grüße plain  über alles, und noch viel mehr als in eine Zeile geht, für Leute mit Zeit",
        "X-Anything: 日本語の件名はとても長いので一行には収まりませんから折り返します。日本語の件名はとても長い",
        "Comments: " + "ä" * 500,
        "From: Jörg Müller <a@b.example>",
        'From: "Müller, Jörg" <a@b.example>',
        "To: Ä <a@b.example>, c@d.example, Ö Ü <e@f.example>",
        "To: Gruppe: a@b.example, Öl <e@f.example>;",
    ],
)
def test_what_can_be_encoded_says_the_same(field: str) -> None:
    found = encoded(field.encode() + b"\r\n")
    assert found.isascii() and found.endswith(b"\r\n")
    assert all(len(line) <= 78 for line in found.split(b"\r\n"))
    if field.startswith(("From", "To")):
        assert read(found) == read(field.encode()) or read(found).replace(
            '"', ""
        ) == field.partition(": ")[2].replace('"', "")
    else:
        value = found.partition(b":")[2].replace(b"\r\n", b"").decode().strip()
        assert str(make_header(decode_header(value))) == field.partition(":")[2].strip()


def test_an_encoded_author_is_the_same_author() -> None:
    field = encoded('From: "Jörg (nicht) <x@y.example>" (Köln) <a@b.example>\r\n'.encode())
    assert field.isascii()
    assert [str(one) for one in authors_of(field)] == ["a@b.example"]


@pytest.mark.parametrize(
    ("field", "name"),
    [
        (
            'Content-Disposition: attachment; filename="Grüße aus Köln.pdf"; size=3',
            "Grüße aus Köln.pdf",
        ),
        ("Content-Type: application/pdf; name=Grüße.pdf", "Grüße.pdf"),
        (
            'Content-Disposition: attachment;\r\n filename="' + "ü" * 120 + '.pdf"',
            "ü" * 120 + ".pdf",
        ),
    ],
)
def test_parameters_take_the_form_of_rfc_2231(field: str, name: str) -> None:
    found = encoded(field.encode())
    assert found.isascii()
    assert (
        email.message_from_bytes(found + b"\r\n\r\n", policy=email.policy.default).get_filename()
        == name
    )


def test_a_domain_has_a_form_in_ascii_and_a_local_part_has_none() -> None:
    assert encoded("To: U <u@bücher.example>, u@bücher.example".encode()) == (
        b"To: U <u@xn--bcher-kva.example>, u@xn--bcher-kva.example"
    )
    for field in ("To: <ü@x.example>", "From: Ö <ü@x.example>", "Cc: ü@x.example (c)"):
        assert encoded(field.encode()) == field.encode()
        assert needs_utf8(f"Subject: x\r\n{field}\r\n".encode())
    assert not needs_utf8("Subject: ü\r\nTo: Ü <u@x.example>\r\nReceived: ü\r\n".encode())


@pytest.mark.parametrize(
    "name", ["Received", "Message-ID", "DKIM-Signature", "References", "List-Unsubscribe", "Date"]
)
def test_other_structured_fields_stay(name: str) -> None:
    assert encoded(f"{name}: <ä>\r\n".encode()) == f"{name}: <ä>\r\n".encode()


def test_octets_that_are_not_utf8_are_labelled_so() -> None:
    assert encoded(b"Subject: M\xfcde\r\n") == b"Subject: =?unknown-8bit?q?M=FCde?=\r\n"


@given(st.sampled_from([b"Subject", b"To", b"Content-Type", b"X"]), st.binary(max_size=200))
def test_any_octets_are_encoded_or_stay(name: bytes, value: bytes) -> None:
    field = name + b":" + value.replace(b"\r", b"").replace(b"\n", b"") + b"\r\n"
    found = encoded(field)
    assert found == field or found.isascii()
    assert found.startswith(name + b":") and found.endswith(b"\r\n")
    assert all(line[:1] in (b" ", b"\t") and line.strip() for line in found.split(b"\r\n")[1:-1])


@given(st.lists(st.integers(1, 1500), min_size=1, max_size=6))
def test_folding_adds_line_ends_alone(lengths: list[int]) -> None:
    field = b"X: " + b" ".join(b"y" * length for length in lengths) + b"\r\n"
    found = folded(field)
    assert found.replace(b"\r\n", b"") + b"\r\n" == field
    longest = max(map(len, found.split(b"\r\n")))
    assert longest <= max(998, max(lengths) + 3)
