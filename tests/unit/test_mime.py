"""The structure of messages, against transcripts, Python's email package and anything at all."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage, Message

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from posthorn.wire.message.mime import MimeScanner, Part, scan_message
from posthorn.wire.message.mime_fields import clean_file_name, parse_described, read_fields
from posthorn.wire.message.transfer_decoding import transfer_decoder
from tests.support.cpu_cost import cost


def crlf(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


def rows(octets: bytes) -> list[tuple[str, str, bytes]]:
    return [
        (part.number, part.fields.type, body(octets, part))
        for _, part in scan_message(octets).walk()
    ]


def leaves(octets: bytes) -> list[tuple[str, str, bytes]]:
    found = [part for _, part in scan_message(octets).walk() if not part.parts]
    return [(part.number, part.fields.type, body(octets, part)) for part in found]


def body(octets: bytes, part: Part) -> bytes:
    return octets[part.body_offset : part.body_offset + part.body_bytes]


def in_pieces(octets: bytes, size: int) -> Part:
    scanner = MimeScanner()
    for at in range(0, len(octets), size):
        scanner.feed(octets[at : at + size])
    return scanner.finish()


NESTED = crlf("""\
Content-Type: multipart/mixed; boundary=foo

preamble
--foo

one
--foo  \t
Content-Type: multipart/alternative; boundary="foobar"

--foobar
Content-Type: text/html

<b>
--foobar--
--foo
Content-Type: message/rfc822

Subject: within
Content-Type: multipart/mixed; boundary=z

--z

three one
--z
Content-Type: application/pdf; name=a.pdf
Content-Transfer-Encoding: base64

aGVsbG8=
--z--
--foo
Content-Type: message/rfc822

Subject: plain within

three
--foo--
epilogue
--foo
no part
""")


def test_parts_are_numbered_as_imap_does() -> None:
    found = {number: (kind, text) for number, kind, text in rows(NESTED)}
    assert list(found) == ["", "1", "2", "2.1", "3", "3.1", "3.2", "4", "4.1"]
    assert found["1"] == ("text/plain", b"one")
    assert found["2.1"] == ("text/html", b"<b>")
    assert found["3.1"] == ("text/plain", b"three one")
    assert found["3.2"] == ("application/pdf", b"aGVsbG8=")
    assert found["4"] == ("message/rfc822", b"Subject: plain within\r\n\r\nthree")
    assert found["4.1"] == ("text/plain", b"three")
    root = scan_message(NESTED)
    assert [part.number for _, part in root.walk() if part.is_attachment] == ["3", "3.2", "4"]
    part = root.find("3.2")
    assert part is not None
    assert (part.fields.file_name, part.decoded_bytes, part.lines) == ("a.pdf", 6, 0)
    assert root.find("9") is None


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000])
def test_the_pieces_do_not_matter(size: int) -> None:
    assert in_pieces(NESTED, size) == scan_message(NESTED)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [("1", "text/plain", b"")]),
        ("A: b\n", [("1", "text/plain", b"")]),
        ("A: b\n\nx", [("1", "text/plain", b"x")]),
        ("no header\n\nat all", [("1", "text/plain", b"no header\r\n\r\nat all")]),
        ("\n\nx", [("1", "text/plain", b"\r\nx")]),
        # the closing delimiter is missing, or the whole end
        ("Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b\n\ny\n",
         [("1", "text/plain", b"x"), ("2", "text/plain", b"y\r\n")]),
        ("Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html\n", [("1", "text/html", b"")]),
        ("Content-Type: multipart/mixed; boundary=b\n\n--b--", [("1", "multipart/mixed", b"--b--")]),
        ("Content-Type: multipart/mixed; boundary=b\n\n--b", [("1", "text/plain", b"")]),
        # an outer delimiter closes what lies within
        ("Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n"
         "--a\n\ny\n--a--\n",
         [("1.1", "text/plain", b"x"), ("2", "text/plain", b"y")]),
        # no boundary, or none that comes
        ("Content-Type: multipart/mixed\n\n--b\n\nx\n", [("1", "multipart/mixed", b"--b\r\n\r\nx\r\n")]),
        ("Content-Type: multipart/mixed; boundary=c\n\n--b\n\nx\n", [("1", "multipart/mixed", b"--b\r\n\r\nx\r\n")]),
        # boundaries that begin alike
        ("Content-Type: multipart/mixed; boundary=b\n\n--b\n\n--bb\n--b-\n --b\n--b x\n--b--\n",
         [("1", "text/plain", b"--bb\r\n--b-\r\n --b\r\n--b x")]),
        ("Content-Type: multipart/mixed; boundary=b--\n\n--b--\n\nx\n--b----\n", [("1", "text/plain", b"x")]),
        # the same boundary within itself
        ("Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n"
         "--b--\n--b\n\ny\n--b--\n",
         [("1.1", "text/plain", b"x"), ("2", "text/plain", b"y")]),
        # empty parts, and parts whose header does not end
        ("Content-Type: multipart/mixed; boundary=b\n\n--b\n--b\n\n--b\nA: b\n--b\n\n\n--b--\n",
         [("1", "text/plain", b""), ("2", "text/plain", b""), ("3", "text/plain", b""), ("4", "text/plain", b"")]),
        ("Content-Type: multipart/mixed; boundary=b\n\n--b\ntext without a blank line\n--b--\n",
         [("1", "text/plain", b"text without a blank line")]),
        ("Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: a\n\nx\n--b--\n", [("1.1", "text/plain", b"x")]),
        ("Content-Type: message/rfc822\n\nSubject: x\n\ny\n", [("1.1", "text/plain", b"y\r\n")]),
        ("Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nU3ViamVjdDo=\n",
         [("1", "message/rfc822", b"U3ViamVjdDo=\r\n")]),
        ("Content-Type:\n multipart/mixed;\n\tboundary=\"b b\"\n\n--b b\n\nx\n--b b--", [("1", "text/plain", b"x")]),
    ],
)  # fmt: skip
def test_broken_and_odd_messages(text: str, expected: list[tuple[str, str, bytes]]) -> None:
    octets = crlf(text)
    assert leaves(octets) == expected
    assert in_pieces(octets, 1) == scan_message(octets)


@pytest.mark.parametrize(
    ("value", "kind", "charset"),
    [
        ("text/plain; charset=utf-8", "text/plain", "utf-8"),
        ("TEXT/HTML;CHARSET=\"ISO-8859-1\"", "text/html", "ISO-8859-1"),
        ("text/plain charset=koi8-r", "text/plain", "koi8-r"),
        ("text/plain; charset = us-ascii (Plain text)", "text/plain", "us-ascii"),
        ("text / html ; charset='utf-8'", "text/html", "utf-8"),
        ("(a comment) text/html; charset=utf-8; charset=x", "text/html", "utf-8"),
        ("text", "text/plain", None),
        ("text/", "text/plain", None),
        ("/; ;;=;x=", "text/plain", None),
        ("charset=utf-8", "text/plain", "utf-8"),
        ("text/html, text/plain", "text/html", None),
        ("application/x-foo+bar;;charset=\"utf-8", "application/x-foo+bar", "utf-8"),
        ("", "text/plain", None),
    ],
)  # fmt: skip
def test_content_types_as_they_come(value: str, kind: str, charset: str | None) -> None:
    fields = read_fields(b"Content-Type: " + value.encode() + b"\r\n\r\n")
    assert (fields.type, fields.charset) == (kind, charset)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("Content-Disposition: attachment; filename=plans.pdf", "plans.pdf"),
        ('Content-Disposition: attachment; filename="my plans (1).pdf"', "my plans (1).pdf"),
        ("Content-Disposition: attachment; filename=my plans (1).pdf", "my plans (1).pdf"),
        ('Content-Disposition: attachment; filename="a \\"b\\".txt"', 'a "b".txt'),
        ("Content-Disposition: attachment; filename*=utf-8''%e2%82%ac%20rates.pdf; filename=x", "€ rates.pdf"),
        ("Content-Disposition: attachment; filename*=iso-8859-1'en'%A3%20rates", "£ rates"),
        ("Content-Disposition: attachment; filename*0*=utf-8''%e2%82;\n filename*1*=%ac;\n filename*2=\".txt\"", "€.txt"),
        ("Content-Disposition: attachment; filename*1=b.txt; filename*0=a", "ab.txt"),
        ("Content-Disposition: attachment; filename*0=a; filename*2=c", "a"),
        ("Content-Disposition: attachment; filename*=x-nothing''%41", "A"),
        ('Content-Type: a/b; name="=?utf-8?B?w7xiZXI=?= =?utf-8?Q?_uns.txt?="', "über uns.txt"),
        ('Content-Type: a/b; name="über.txt"', "über.txt"),
        ('Content-Disposition: attachment; filename="C:\\Users\\x\\plans.doc"', "plans.doc"),
        ('Content-Disposition: attachment; filename="../../etc/passwd"', "passwd"),
        ("Content-Disposition: attachment; filename*=utf-8''..%2F..%5Cx%0D%0Ay%00.sh", "xy.sh"),
        ('Content-Disposition: attachment; filename="cod\u202egpj.exe"', "codgpj.exe"),
        ('Content-Disposition: attachment; filename=".."', None),
        ('Content-Disposition: attachment; filename="/"', None),
        ("Content-Disposition: attachment; filename", None),
    ],
)  # fmt: skip
def test_file_names_come_out_clean(header: str, name: str | None) -> None:
    assert read_fields(header.replace("\n", "\r\n").encode() + b"\r\n\r\n").file_name == name


def test_a_long_name_keeps_its_extension() -> None:
    name = clean_file_name("ü" * 300 + ".pdf")
    assert name is not None
    assert name.endswith("ü.pdf")
    assert len(name.encode()) <= 255


def test_limits_hold_and_are_told() -> None:
    many = (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        + b"--b\r\n\r\nx\r\n" * 3000
        + b"--b--\r\n"
    )
    scanner = MimeScanner()
    scanner.feed(many)
    assert len(scanner.finish().parts) == 999
    assert not scanner.is_complete
    deep = b"".join(
        b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (n, n) for n in range(3000)
    )
    scanner = MimeScanner()
    scanner.feed(deep)
    assert max(depth for depth, _ in scanner.finish().walk()) == 49
    assert not scanner.is_complete
    messages = b"Content-Type: message/rfc822\r\n\r\n" * 3000
    assert max(depth for depth, _ in scan_message(messages).walk()) == 49
    header = b"A: b\r\n" + b" x\r\n" * 100_000 + b"Content-Type: text/html\r\n\r\nbody"
    assert leaves(header) == [("1", "text/plain", b"body")]


@pytest.mark.parametrize(
    "unit",
    [
        b"\r\n--", b"--b\r\n", b"--b\r\n\r\n", b"--", b"=", b"Content-Type: a\r\n", b"\r\n", b" ", b"\r", b"--b " * 300 + b"\r\n",
        b'--b\r\nContent-Type: x/y; name="' + b"=?utf-8?q?" * 1500 + b'?="\r\n\r\n',
        b"--b\r\nContent-Disposition: a; " + b"(" * 9000 + b"\r\n\r\n",
        b"--b\r\nContent-Type: a/b; " + b"x" * 16000 + b"\r\n\r\n",
        b"--b\r\nContent-Type: " + b" " * 16000 + b"/\r\n\r\n",
    ],
)  # fmt: skip
def test_the_time_grows_with_the_size(unit: bytes) -> None:
    def seconds(size: int, limit: float) -> float:
        octets = (
            b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
            + (unit * (size // len(unit) + 1))[:size]
        )
        return cost(lambda: in_pieces(octets, 65_536), limit)

    most = max(seconds(250_000, 0), 0.005) * 16
    assert seconds(1_000_000, most) < most


@st.composite
def messages(draw: st.DrawFn, depth: int = 0) -> EmailMessage:
    message = EmailMessage()
    kind = draw(
        st.sampled_from(["text", "bytes", "mixed", "message"] if depth < 3 else ["text", "bytes"])
    )
    if kind == "text":
        message.set_content(
            draw(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])))
        )
    elif kind == "bytes":
        name = draw(st.text("abcäß€ .()'", min_size=1))
        message.set_content(
            draw(st.binary(max_size=300)), "application", "octet-stream", filename=f"x{name}.bin"
        )
    elif kind == "message":
        message.set_content(draw(messages(depth + 1)))
    else:
        message.make_mixed()
        for part in draw(st.lists(messages(depth + 1), min_size=1, max_size=3)):
            message.attach(part)
    return message


def flat(message: Message) -> list[tuple[str, bytes]]:
    found = []
    for part in message.walk():
        if not part.is_multipart():
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            found.append((part.get_content_type(), payload))
    return found


@given(messages())
@settings(max_examples=60, deadline=None)
def test_well_formed_messages_are_read_as_by_the_email_package(message: EmailMessage) -> None:
    octets = message.as_bytes(policy=email.policy.SMTP)
    parsed = email.message_from_bytes(octets, policy=email.policy.SMTP)
    ours = []
    for _, part in scan_message(octets).walk():
        if not part.parts:
            decoder = transfer_decoder(part.fields.encoding)
            ours.append((part.fields.type, decoder.feed(body(octets, part)) + decoder.finish()))
            assert abs(part.decoded_bytes - len(ours[-1][1])) <= 2
    assert ours == flat(parsed)


ODD = st.lists(
    st.sampled_from(
        [b"--b", b"--", b"--b--", b"--c", b"\r\n", b"\r\n\r\n", b"\r", b"\n", b"=", b"x", b" ", b"\xff", b'"', b";", b"(",
         b"Content-Type: multipart/mixed; boundary=b\r\n", b"Content-Type: multipart/mixed; boundary=c\r\n",
         b"Content-Type: message/rfc822\r\n", b"Content-Disposition: attachment; filename*=", b"utf-8''%", b"%ff",
         b"Content-Transfer-Encoding: base64\r\n", b"Content-Transfer-Encoding: quoted-printable\r\n"]
    ), max_size=60,
).map(b"".join)  # fmt: skip


@given(st.one_of(ODD, st.binary(max_size=400)), st.integers(1, 50))
@example(b"-", 1)
@settings(max_examples=400, deadline=None)
def test_anything_has_a_structure(octets: bytes, size: int) -> None:
    root = scan_message(octets)
    assert in_pieces(octets, size) == root
    numbers = [part.number for _, part in root.walk() if part.number]
    assert len(numbers) == len(set(numbers))
    for _, part in root.walk():
        assert 0 <= part.header_offset <= part.body_offset
        assert part.body_offset + part.body_bytes <= len(octets)
        assert part.decoded_bytes >= 0
        assert part.lines >= 0
        for within in part.parts:
            assert part.body_offset <= within.header_offset
            assert within.body_offset + within.body_bytes <= part.body_offset + part.body_bytes


@pytest.mark.parametrize(
    ("encoding", "given", "expected"),
    [
        ("base64", b"aGVs\r\nbG8=\r\n", b"hello"),
        ("base64", b"aGVsbG8=aGVsbG8=", b"hellohello"),
        ("base64", b"aG!Vs *bG8", b"hello"),
        ("base64", b"====a", b""),
        ("quoted-printable", b"a=3Db=\r\nc \t\r\nd=20\r\n", b"a=bc\r\nd \r\n"),
        ("quoted-printable", b"=ZZ =", b"=ZZ "),
        ("8bit", b"\xff=41", b"\xff=41"),
        ("x-unknown", b"aGVs", b"aGVs"),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 100])
def test_encodings_come_off(encoding: str, given: bytes, expected: bytes, size: int) -> None:
    decoder = transfer_decoder(encoding)
    found = (
        b"".join(decoder.feed(given[at : at + size]) for at in range(0, len(given), size))
        + decoder.finish()
    )
    assert found == expected


@given(st.binary(max_size=300), st.sampled_from(["base64", "quoted-printable"]))
def test_anything_decodes_to_something(octets: bytes, encoding: str) -> None:
    decoder = transfer_decoder(encoding)
    assert isinstance(decoder.feed(octets) + decoder.finish(), bytes)


@given(st.text(max_size=200))
def test_any_field_reads(text: str) -> None:
    described = parse_described(text)
    assert isinstance(described.value, str)
    name = clean_file_name(text)
    assert name is None or not set(name) & set("/\\\r\n\0")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"X: content-type: text/html\r\n", "text/plain"),
        (b"X: y\r\n content-type: text/html\r\nContent-Type: text/css\r\n", "text/css"),
        (b" content-type: text/html\r\nCONTENT-TYPE :\r\n\ttext/css\r\n", "text/css"),
        (b"X: y\ncontent-type: text/html\r\n", "text/plain"),
        (b"Content-Type\r\n : text/html\r\nContent-Type: text/css\r\n", "text/css"),
        (b"Content-Type: text/css\r\nContent-Type: text/html\r\n", "text/css"),
        (b"Content-Type: text/css", "text/css"),
        (b"Content-Type:\r\n text/\r\n\tcss\r\n", "text/css"),
    ],
)
def test_content_fields_are_found_at_the_beginning_of_a_line_alone(
    header: bytes, expected: str
) -> None:
    assert read_fields(header).type == expected
