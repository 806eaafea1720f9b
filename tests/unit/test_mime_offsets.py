"""Offsets of the parts of a message: the same however it is divided, whatever it is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthorn.wire.message.mime import Part as Described
from posthorn.wire.message.mime import scan_message
from posthorn.wire.message.mime_content import ContentFields, EnvelopeFields, read_content
from posthorn.wire.message.mime_encoding import VERSION, decode_part, decode_shown, encode_part
from posthorn.wire.message.mime_offsets import (
    DEEPEST,
    HEADER_BYTES,
    MOST_PARTS,
    OffsetScanner,
    Part,
    scan_offsets,
)


def crlf(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


def in_pieces(message: bytes, size: int) -> Part:
    scanner = OffsetScanner()
    for at in range(0, len(message), size):
        scanner.feed(message[at : at + size])
    return scanner.finish()


def tree(part: Part) -> object:
    """Return the types of a structure in brackets."""
    kind = part.fields.kind.decode()
    return (kind, *[tree(each) for each in part.parts]) if part.parts else kind


def bodies(message: bytes) -> list[bytes]:
    def leaves(part: Part) -> list[Part]:
        return [leaf for each in part.parts for leaf in leaves(each)] if part.parts else [part]

    return [message[part.body : part.end] for part in leaves(scan_offsets(message))]


NESTED = crlf("""\
From: a@b.test
Content-Type: multipart/mixed; boundary="outer"

preamble
--outer
Content-Type: multipart/alternative; boundary=inner

--inner

plain
--inner
Content-Type: text/html; charset="utf-8"
Content-Disposition: inline; filename="a;b.html"

<p>
--inner--
epilogue
--outer
Content-Type: message/rfc822
Content-Description: forwarded

Subject: nested
From: c@d.test

nested body

--outer
Content-Type: application/pdf; name="x.pdf"
Content-Transfer-Encoding: base64

AAAA
BBBB
--outer--
epilogue
""")


def test_a_message_with_everything() -> None:
    part = scan_offsets(NESTED)
    assert tree(part) == (
        "multipart/mixed",
        ("multipart/alternative", "text/plain", "text/html"),
        ("message/rfc822", "text/plain"),
        "application/pdf",
    )
    assert bodies(NESTED) == [b"plain", b"<p>", b"nested body\r\n", b"AAAA\r\nBBBB"]
    message = part.parts[1]
    assert message.is_message
    assert message.parts[0].envelope == EnvelopeFields(subject=b"nested", from_=b"c@d.test")
    assert NESTED[message.parts[0].header : message.parts[0].body].startswith(b"Subject: nested")
    assert message.lines == 4
    html = part.parts[0].parts[1].fields
    assert (html.disposition, html.disposition_parameters) == (
        b"inline",
        ((b"filename", b"a;b.html"),),
    )


def test_the_two_scanners_agree() -> None:
    """``wire.message.mime``, which the API uses, finds the same parts."""

    def decoded(part: Described) -> object:
        end = part.body_offset + part.body_bytes
        return part.header_offset, part.body_offset, end, part.lines, [*map(decoded, part.parts)]

    def as_written(part: Part) -> object:
        return part.header, part.body, part.end, part.lines, [*map(as_written, part.parts)]

    assert as_written(scan_offsets(NESTED)) == decoded(scan_message(NESTED))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13, 64])
def test_the_division_into_blocks_makes_no_difference(size: int) -> None:
    assert in_pieces(NESTED, size) == scan_offsets(NESTED)


@pytest.mark.parametrize(
    ("message", "structure"),
    [
        (b"", "text/plain"),
        (b"\r\n", "text/plain"),
        (b"no header at all", "text/plain"),
        (b"Subject: x", "text/plain"),
        (b"Content-Type: multipart/mixed", ("multipart/mixed", "text/plain")),
        (b"Content-Type: multipart/mixed; boundary=a\r\n\r\n", ("multipart/mixed", "text/plain")),
        (b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a--\r\n", ("multipart/mixed", "text/plain")),
        (b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a", ("multipart/mixed", "text/plain")),
        (b"Content-Type: multipart/mixed; boundary=a\r\n--a\r\n\r\nx", ("multipart/mixed", "text/plain")),
        (b"Content-Type: message/rfc822", ("message/rfc822", "text/plain")),
        (b"Content-Type: message/rfc822\r\n\r\n", ("message/rfc822", "text/plain")),
        (b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA",
         "application/octet-stream"),
        (b"Content-Type: multipart/digest; boundary=a\r\n\r\n--a\r\n\r\nSubject: x\r\n\r\ny\r\n--a--",
         ("multipart/digest", ("message/rfc822", "text/plain"))),
        (b"Content-Type: nonsense\r\n\r\nx", "text/plain"),
        (b"CONTENT-TYPE : Text/HTML\r\n\r\nx", "text/html"),
        (b"Content-Type:\r\n text/html\r\n\r\nx", "text/html"),
        (b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n"
         b"Content-Type: message/rfc822\r\n--a\r\n\r\nx",
         ("multipart/mixed", ("message/rfc822", "text/plain"), "text/plain")),
        (b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n"
         b"Content-Type: multipart/mixed; boundary=b\r\n--a\r\n\r\nx",
         ("multipart/mixed", ("multipart/mixed", "text/plain"), "text/plain")),
    ],
)  # fmt: skip
def test_structures_that_are_not_as_they_should_be(message: bytes, structure: object) -> None:
    assert tree(scan_offsets(message)) == structure
    assert in_pieces(message, 1) == scan_offsets(message)


MIXED = b"Content-Type: multipart/mixed; boundary=%s\r\n\r\n"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        # a boundary that begins with another, or with a blank at its end
        (MIXED % b"a" + b"--a\r\n\r\n--ab\r\n--a--b\r\n--a \t\r\n\r\ny\r\n--a--\r\n", [b"--ab\r\n--a--b", b"y"]),
        # the delimiter right after the header of the part, and at the very beginning of the body
        (MIXED % b"a" + b"--a\r\n\r\n--a\r\n\r\ny\r\n--a--", [b"", b"y"]),
        # no empty line between the header of a part and the delimiter
        (MIXED % b"a" + b"--a\r\nContent-ID: x\r\n--a\r\n\r\ny", [b"", b"y"]),
        # a delimiter is only found at the beginning of a line
        (MIXED % b"a" + b"--a\r\n\r\nx --a\r\ny\r\n--a--", [b"x --a\r\ny"]),
        # an outer delimiter closes what is open within
        (MIXED % b"a" + b"--a\r\n" + MIXED % b"b" + b"--b\r\n\r\nx\r\n--a\r\n\r\ny", [b"x", b"y"]),
        # bare line feeds
        (b"Content-Type: multipart/mixed; boundary=a\n\n--a\n\nx\n--a\n\ny\n--a--\n", [b"x", b"y"]),
        # a header with a bare line feed before the empty line
        (b"Content-Type: multipart/mixed; boundary=a\n\r\n\r\n--a\r\n\r\nx\r\n--a--", [b"x"]),
        # a part whose first line is no field
        (MIXED % b"a" + b"--a\r\nnot a field\r\nx\r\n--a--", [b"not a field\r\nx"]),
        # a delimiter after the last one belongs to no part
        (MIXED % b"a" + b"--a\r\n\r\nx\r\n--a--\r\n--a\r\n\r\ny", [b"x"]),
        # signatures begin with two hyphens as well
        (MIXED % b"a" + b"--a\r\n\r\nx\r\n-- \r\nme\r\n--\r\n--a--", [b"x\r\n-- \r\nme\r\n--"]),
    ],
)  # fmt: skip
def test_boundaries(message: bytes, expected: list[bytes]) -> None:
    assert bodies(message) == expected
    for size in (1, 2, 7):
        assert in_pieces(message, size) == scan_offsets(message)


def test_a_multipart_without_delimiters_shows_its_body() -> None:  # jstedfast/MailKit#1841
    assert bodies(MIXED % b"a" + b"all of it\r\n") == [b"all of it\r\n"]
    assert bodies(b"Content-Type: multipart/mixed\r\n\r\n--x\r\n") == [b"--x\r\n"]


def test_depth_is_bounded() -> None:  # CVE-2026-26312
    part: Part | None = scan_offsets(b"Content-Type: message/rfc822\r\n\r\n" * 500)
    depth = 0
    while part is not None and part.parts:
        part, depth = part.parts[0], depth + 1
    assert part is not None
    assert depth == DEEPEST
    assert part.fields.kind == b"application/octet-stream"
    many = b"".join(
        b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (n, n) for n in range(500)
    )
    assert in_pieces(many, 1000) == scan_offsets(many)


def test_the_number_of_parts_is_bounded() -> None:
    message = MIXED % b"a" + b"--a\r\n\r\nx\r\n" * 5_000
    part = scan_offsets(message)
    assert len(part.parts) == MOST_PARTS - 1
    rest = part.parts[-1]
    assert rest.fields == ContentFields(b"application", b"octet-stream", ())
    assert rest.end == len(message)
    assert message[rest.body : rest.end].count(b"--a") > 4_000


def test_a_header_of_any_length_is_read_in_bounded_memory() -> None:
    long = b"X: " + b"y" * 1000 + b"\r\n"
    message = b"Content-Type: text/html\r\n" + long * 1000 + b"Content-ID: late\r\n\r\nbody"
    scanner = OffsetScanner()
    for at in range(0, len(message), 4096):
        scanner.feed(message[at : at + 4096])
        assert len(scanner._rest) + len(scanner._header) <= 3 * HEADER_BYTES
    part = scanner.finish()
    assert part.fields.kind == b"text/html"
    assert part.fields.id is None
    assert message[part.body : part.end] == b"body"
    assert scan_offsets(message) == part


def test_content_fields() -> None:
    fields = read_content(
        crlf("""\
Subject: content-type: no
Content-Type: Application/X-Foo (comment); name=a b.pdf; Charset="x\\"y"
 ; filename*0*=utf-8''%e4; bad; =bad; empty=
Content-Transfer-Encoding: BASE64 (sic)
Content-ID: <a@b>
Content-Type: text/plain
Content-Language: de, en (x)
Content-Location: http://a.test/
Content-MD5: abc=
Content-Disposition: attachment;
\tfilename = "b;c"
""")
    )
    assert fields == ContentFields(
        b"Application", b"X-Foo",
        ((b"name", b"a b.pdf"), (b"Charset", b'x"y'), (b"filename*0*", b"utf-8''%e4"), (b"empty", b"")),
        b"<a@b>", None, b"BASE64", b"abc=", b"attachment", ((b"filename", b"b;c"),), (b"de", b"en"),
        b"http://a.test/",
    )  # fmt: skip
    assert read_content(b"") == ContentFields()


def test_the_compact_form() -> None:
    part = scan_offsets(NESTED)
    form = encode_part(part)
    assert decode_part(form) == part
    assert decode_shown(form) is None
    with_more = encode_part(part, b"(shown)")
    assert decode_part(with_more) == part
    assert decode_shown(with_more) == b"(shown)"
    assert len(form) < 500
    for end in range(len(form)):
        with pytest.raises(ValueError, match=r"."):
            decode_part(form[:end])
    for other in (b"", bytes([VERSION + 1]) + form[1:], form + b"x"):
        with pytest.raises(ValueError, match=r"."):
            decode_part(other)


@given(st.binary(max_size=200))
def test_a_damaged_form_is_a_value_error(octets: bytes) -> None:
    try:
        decode_part(bytes([VERSION]) + octets)
    except ValueError:
        return


_LINES = st.sampled_from(
    [b"Content-Type: multipart/mixed; boundary=a", b"Content-Type: multipart/digest; boundary=b",
     b"Content-Type: message/rfc822", b"Content-Type: text/plain", b"Subject: x", b"", b"", b"--a",
     b"--a--", b"--b", b"--b--", b"--a ", b"--", b"-", b" folded", b"text", b"\xff\x00", b"--aa"]
)  # fmt: skip
_ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b""])
_MESSAGES = st.lists(st.tuples(_LINES, _ENDS).map(b"".join), max_size=25).map(b"".join)


def check(part: Part, message: bytes) -> None:
    assert 0 <= part.header <= part.body <= part.end <= len(message)
    assert 0 <= part.lines == message.count(b"\n", part.body, part.end)
    last = part.body
    for each in part.parts:
        assert last <= each.header
        assert each.end <= part.end
        last = each.end
        check(each, message)
    assert bool(part.parts) == (part.is_multipart or part.is_message)
    assert part.is_multipart == part.fields.kind.startswith(b"multipart/")


@settings(max_examples=200)
@given(_MESSAGES, st.integers(1, 7))
def test_whatever_the_message_is(message: bytes, size: int) -> None:
    part = scan_offsets(message)
    assert part.header == 0
    assert part.end == len(message)
    check(part, message)
    assert in_pieces(message, size) == part
    assert decode_part(encode_part(part)) == part
