"""Messages made fit for hosts that take 7 bits, or lines of 998 octets: they mean what they
meant."""

from __future__ import annotations

import base64
import email
import email.policy
import quopri
import random
from collections.abc import Iterator
from contextlib import suppress
from email.message import Message

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from posthorn.wire.message import transfer_encoding as encoding
from posthorn.wire.message.content_fields import Inconvertible
from posthorn.wire.message.seven_bit import convert, is_fit
from tests.support.cpu_cost import cost

UMLAUTS = "Grüße aus Köln, über alle Länder.\r\n".encode()
LONG = b"word " * 300 + b"\r\n"


def converted(message: bytes, *, eight_bit: bool = False) -> bytes:
    """Convert and check what always holds."""
    found = b"".join(convert(message, eight_bit=eight_bit).blocks())
    assert is_fit(found, eight_bit=eight_bit)
    assert max(map(len, found.split(b"\r\n"))) <= 998
    return found


def leaves(octets: bytes) -> list[tuple[str, bytes]]:
    """Types and decoded contents, as Python reads them."""
    return [
        (part.get_content_type(), content(part)) for part in walk(octets) if not part.is_multipart()
    ]


def walk(octets: bytes) -> Iterator[Message]:
    yield from email.message_from_bytes(octets, policy=email.policy.compat32).walk()


def content(part: Message) -> bytes:
    octets = part.get_payload(decode=True)
    assert isinstance(octets, bytes)
    return octets


def headers(octets: bytes) -> list[list[tuple[str, str]]]:
    """The fields of all parts, without those that a conversion may set, unfolded."""
    ours = ("content-transfer-encoding", "mime-version")
    return [
        [
            (name, str(value).replace("\r\n", ""))
            for name, value in part.raw_items()
            if name.lower() not in ours
        ]
        for part in walk(octets)
    ]


def make_message(body: bytes, *fields: bytes) -> bytes:
    return (
        b"".join(field + b"\r\n" for field in (b"From: a@x.test", b"MIME-Version: 1.0", *fields))
        + b"\r\n"
        + body
    )


# Single parts


def test_text_with_a_few_umlauts_becomes_quoted_printable() -> None:
    message = make_message(
        b"Gr\xc3\xbc\xc3\x9fe = 1 \r\nplain enough to read, and quite some more of it\r\n.\r\n",
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Transfer-Encoding: 8bit",
        b"Subject: after",
    )
    assert converted(message) == make_message(
        b"Gr=C3=BC=C3=9Fe =3D 1=20\r\nplain enough to read, and quite some more of it\r\n.\r\n",
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Transfer-Encoding: quoted-printable",
        b"Subject: after",
    )


@pytest.mark.parametrize(
    ("type_", "body"),
    [
        (b"text/plain; charset=koi8-r", "Привет".encode("koi8-r") * 40 + b"\r\n"),
        (b"application/octet-stream", b"mostly plain \xff\r\n"),
        (b"text/plain", b"a bare \n one \xc3\xa4\r\n"),
        (b"image/png", b"\x89PNG\r\n\x1a\n" + bytes(range(256))),
        (b"text/html", b"x" * 70_000 + b"\r\n"),
    ],
)
def test_what_quoted_printable_does_not_suit_becomes_base64(type_: bytes, body: bytes) -> None:
    found = converted(
        make_message(
            body, b"Content-Type: " + type_, b"content-transfer-encoding: BINARY (whatever)"
        )
    )
    assert b"Content-Transfer-Encoding: base64\r\n" in found
    assert b"BINARY" not in found
    assert leaves(found)[0][1] == body
    assert max(map(len, found.split(b"\r\n"))) <= 76


@pytest.mark.parametrize(
    ("body", "charset"), [(UMLAUTS, b"utf-8"), ("Müde\r\n".encode("latin1"), b"unknown-8bit")]
)
def test_a_message_from_before_mime_gets_what_it_lacks(body: bytes, charset: bytes) -> None:
    found = converted(b"Subject: old\r\n\r\n" + body)
    assert found.startswith(
        b"Subject: old\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset="
        + charset
        + b"\r\nContent-Transfer-E"
    )
    assert leaves(found)[0][1] == body


def test_a_message_that_is_fit_is_left_alone() -> None:
    for message in (
        b"",
        b"\r\n",
        b"Subject: x\r\n\r\ntext",
        make_message(b"x" * 998 + b"\r\n"),
        b"no header at all",
        LONG[:998],
    ):
        assert is_fit(message, eight_bit=False)
        assert converted(message) == message
    assert is_fit(UMLAUTS, eight_bit=True)
    assert not is_fit(UMLAUTS, eight_bit=False)
    assert not is_fit(b"x" * 999, eight_bit=True)


def test_a_label_that_says_more_than_there_is_becomes_7bit() -> None:
    found = converted(make_message(b"ascii\r\n", b"Content-Transfer-Encoding: 8bit"))
    assert found == make_message(b"ascii\r\n", b"Content-Transfer-Encoding: 7bit")


def test_long_lines_alone_are_mended_where_8_bits_may_stay() -> None:
    message = multipart(
        b"mixed",
        make_message(UMLAUTS, b"Content-Transfer-Encoding: 8bit"),
        make_message(LONG + UMLAUTS),
    )
    found = converted(message, eight_bit=True)
    assert UMLAUTS in found
    assert found.count(b"quoted-printable") == 1
    assert leaves(found) == leaves(message)


# Encodings that are there already


def test_quoted_printable_with_8_bits_or_long_lines_is_mended_in_place() -> None:
    body = b"fine =3D\r\nraw \xc3\xa4 =C3=A4\r\n" + b"=C3=A4" * 400 + b"\r\nsoft =\r\nbreak\r\n"
    found = converted(make_message(body, b"Content-Transfer-Encoding: quoted-printable"))
    assert b"\r\n\r\nfine =3D\r\nraw =C3=A4 =C3=A4\r\n=C3" in found
    assert leaves(found)[0][1] == quopri.decodestring(body)


def test_base64_in_one_line_is_wrapped() -> None:
    octets = random.Random(1).randbytes(200_000)
    body = base64.b64encode(octets)
    for raw in (body, body[:70_001] + b"\xa0" + body[70_001:] + b"\r\n"):
        found = converted(make_message(raw, b"Content-Transfer-Encoding: base64"))
        assert leaves(found)[0][1] == octets
        assert max(map(len, found.split(b"\r\n"))) <= 76
        assert found.endswith(b"\r\n")


@pytest.mark.parametrize("name", [b"x-uuencode", b"8-bit", b"7bit; charset=utf-8"])
def test_an_encoding_that_is_not_known_is_not_touched(name: bytes) -> None:
    fields = (b"Content-Type: text/plain", b"Content-Transfer-Encoding: " + name)
    with pytest.raises(Inconvertible, match="encoding"):
        converted(make_message(UMLAUTS, *fields))
    assert converted(make_message(b"ascii\r\n", *fields)) == make_message(b"ascii\r\n", *fields)


# Structures


def multipart(
    kind: bytes, *parts: bytes, boundary: bytes = b"=_b", label: bytes = b"8bit", more: bytes = b""
) -> bytes:
    body = (
        b"".join(b"\r\n--" + boundary + b"\r\n" + part for part in parts)
        + b"\r\n--"
        + boundary
        + b"--\r\n"
    )
    return make_message(
        b"preamble" + body,
        b'Content-Type: multipart/%s;\r\n\tboundary="%s"%s' % (kind, boundary, more),
        b"Content-Transfer-Encoding: " + label,
    )


def test_only_the_parts_that_need_it_change() -> None:
    plain, html = (
        b"Content-Type: text/plain\r\n\r\nascii\r\n",
        b"Content-Type: text/html\r\n\r\n<b>\xc3\xa4</b> and more\r\n",
    )
    picture = b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0K\r\n"
    inner = multipart(b"alternative", plain, html, boundary=b"=_b2")
    found = converted(multipart(b"mixed", inner, picture))
    assert found == multipart(
        b"mixed",
        multipart(
            b"alternative",
            plain,
            b"Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<b>=C3=A4</b> and more\r\n",
            boundary=b"=_b2",
            label=b"7bit",
        ),
        picture,
        label=b"7bit",
    )


def test_an_enclosed_message_is_gone_through() -> None:
    for kind, field in (
        (b"mixed", b"Content-Type: message/rfc822\r\n"),
        (b"digest", b"X-Nothing: y\r\n"),
    ):
        enclosed = make_message(
            UMLAUTS, b"Content-Type: text/plain; charset=utf-8", b"Content-Transfer-Encoding: 8bit"
        )
        message = multipart(kind, field + b"Content-Transfer-Encoding: 8bit\r\n\r\n" + enclosed)
        found = converted(message)
        assert leaves(found) == leaves(message)
        assert leaves(found)[-1][1] == UMLAUTS
        assert b"8bit" not in found
        assert found.count(b"7bit") == 2


@pytest.mark.parametrize("kind", [b"signed", b"encrypted"])
def test_what_is_signed_or_encrypted_is_never_touched(kind: bytes) -> None:
    fit = multipart(kind, b"Content-Transfer-Encoding: 8bit\r\n\r\nascii\r\n", boundary=b"=_s")
    unfit = multipart(kind, b"\r\n" + UMLAUTS, boundary=b"=_s")
    with pytest.raises(Inconvertible, match=kind.decode()):
        converted(unfit)
    with pytest.raises(Inconvertible, match=kind.decode()):
        converted(multipart(b"mixed", b"\r\nascii", unfit))
    found = converted(multipart(b"mixed", fit, b"\r\n" + UMLAUTS))
    assert b"Content-Transfer-Encoding: 8bit\r\n\r\nascii\r\n" in found


@pytest.mark.parametrize(
    "kind", [b"partial; id=x", b"delivery-status", b"global", b"external-body; access-type=x"]
)
def test_other_kinds_of_messages_are_not_encoded(kind: bytes) -> None:
    with pytest.raises(Inconvertible, match="kind"):
        converted(
            multipart(
                b"mixed", b"Content-Type: message/" + kind + b"\r\n\r\nX: y\r\n\r\n" + UMLAUTS
            )
        )


def test_what_nobody_is_shown_keeps_its_place() -> None:
    message = (
        multipart(b"mixed", b"\r\nascii").replace(
            b"preamble", b"pre\xc3\xa4amble\r\n" + b"x" * 3000
        )
        + UMLAUTS
    )
    found = converted(message)
    assert b"\r\n\r\npre??amble\r\nxxx" in found
    assert found.endswith(b"--\r\nGr????e aus K??ln, ??ber alle L??nder.\r\n")
    assert leaves(found) == [("text/plain", b"ascii")]


@pytest.mark.parametrize(
    "message",
    [
        make_message(UMLAUTS, b"Content-Type: multipart/mixed; boundary=x"),
        make_message(b"--x\r\n\r\n" + UMLAUTS + b"--x--\r\n", b"Content-Type: multipart/mixed"),
        make_message(
            b"--x\r\n\r\n" + UMLAUTS, b"Content-Type: multipart/mixed; boundary=x; boundary=y"
        ),
        make_message(UMLAUTS, b"Content-Type: text/plain", b"Content-Type: image/png"),
        make_message(
            UMLAUTS, b"Content-Transfer-Encoding: 8bit", b"Content-Transfer-Encoding: base64"
        ),
        b"no field\r\nSubject: x\r\n\r\n" + UMLAUTS,
        make_message(
            b"--x\r\nno field\r\n\r\n" + UMLAUTS + b"--x--\r\n",
            b"Content-Type: multipart/mixed; boundary=x",
        ),
    ],
)
def test_a_structure_that_is_not_clear_is_not_guessed(message: bytes) -> None:
    with pytest.raises(Inconvertible):
        converted(message)
    ascii_ = message.decode("ascii", "replace").replace("\ufffd", "?").encode()
    assert converted(ascii_) == ascii_


def test_boundaries_are_found_as_others_find_them() -> None:
    for declared, boundary in (
        (b'multipart/mixed; boundary="a \\"b"', b'a "b'),
        (b"multipart/mixed (boundary=no; x) ; charset=x;\r\n BOUNDARY = abc ", b"abc"),
        (b'multipart/mixed; name="; boundary=no"; boundary=abc', b"abc"),
    ):
        body = b"--%b \t\r\n\r\n\xc3\xa4 and --%b\r\n--%bx\r\n--%b--\r\n" % ((boundary,) * 4)
        found = converted(make_message(body, b"Content-Type: " + declared))
        assert (
            b"quoted-printable\r\n\r\n=C3=A4 and --%b\r\n--%bx\r\n--" % (boundary, boundary)
            in found
        )


def test_nesting_has_a_bound() -> None:
    message = b"\r\n" + UMLAUTS
    for depth in range(30):
        message = multipart(b"mixed", message, boundary=b"b%d" % depth)
        if depth == 15:
            assert leaves(converted(message)) == leaves(message)
    with pytest.raises(Inconvertible, match="deeply"):
        converted(message)


# Headers


@pytest.mark.parametrize(
    "message",
    [
        b"Subject: Gr\xc3\xbc\xc3\x9fe\r\n\r\ntext\r\n",
        make_message(
            b"--x\r\nContent-Description: \xe4\r\n\r\ny\r\n--x--",
            b"Content-Type: multipart/mixed; boundary=x",
        ),
        make_message(b"Subject: \xe4\r\n\r\ntext", b"Content-Type: message/rfc822"),
    ],
)
def test_a_header_with_8_bits_is_encoded_for_7(message: bytes) -> None:
    assert b"=?" in converted(message)
    assert converted(message, eight_bit=True) == message


@pytest.mark.parametrize(
    ("field", "is_its_own"),
    [
        (b"Message-ID: <\xc3\xa4@x>", True),
        ("To: ä@x.test".encode(), True),
        (b"Received: by \xe4", True),
        (b"X-Ascii: y", False),
    ],
)
def test_a_field_that_cannot_be_encoded_stays_and_the_rest_is_converted(
    field: bytes, is_its_own: bool
) -> None:
    conversion = convert(
        make_message(UMLAUTS, field, b"Content-Type: text/plain; charset=utf-8"), eight_bit=False
    )
    found = b"".join(conversion.blocks())
    assert conversion.has_raw_header is is_its_own
    assert field + b"\r\n" in found
    assert found.partition(b"\r\n\r\n")[2].isascii()
    assert leaves(found)[0][1] == UMLAUTS


def test_long_fields_are_folded_where_they_may_be() -> None:
    message = make_message(
        b"text\r\n",
        b"To: " + b", ".join(b"someone%d@example.test" % number for number in range(200)),
    )
    for eight_bit in (True, False):
        found = converted(message, eight_bit=eight_bit)
        assert found.replace(b"\r\n ", b" ") == message
    for hopeless in (b"X: " + b"y" * 1000, b"X: y\r\n" + b" " * 1200 + b"z", b"X:" + b" " * 1200):
        message = make_message(b"text\r\n", hopeless)
        assert b"".join(convert(message, eight_bit=True).blocks()) == message
        assert (
            b"".join(convert(make_message(LONG, hopeless), eight_bit=True).blocks())
            .partition(hopeless)[2]
            .count(b"=\r\n")
        )
    message = make_message(b"text\r\n", b"X: " + b"y" * 1000 + b" z" * 600)
    found = b"".join(convert(message, eight_bit=True).blocks())
    assert b"X: " + b"y" * 1000 + b"\r\n z z" in found
    assert found.replace(b"\r\n ", b" ") == message


# Anything

LINES = st.one_of(
    st.binary(max_size=90).map(lambda line: line.replace(b"\r", b"").replace(b"\n", b"")),
    st.sampled_from(
        [
            b"",
            b".",
            b"--",
            b"--in",
            b"--out--",
            b"From me",
            b"trailing \t",
            b"=",
            b"=C3",
            b"a" * 998,
            b"a" * 999,
        ]
    ),
    st.builds(
        lambda text, times: text.encode() * times,
        st.text("aä =.-F\t", min_size=1, max_size=7),
        st.integers(1, 700),
    ),
)
BODIES = st.lists(LINES, max_size=6).map(b"\r\n".join)
TYPES = st.sampled_from(
    [b"text/plain", b"text/html; charset=utf-8", b"application/pdf", b"image/png"]
)
LABELS = st.sampled_from([b"", b"7bit", b"8bit", b"binary"])


def _part(kind: bytes, label: bytes, body: bytes) -> bytes:
    field = b"Content-Transfer-Encoding: " + label + b"\r\n" if label else b""
    return b"Content-Type: " + kind + b"\r\n" + field + b"\r\n" + body


def _whole(kind: str, label: bytes, parts: list[bytes], number: int) -> bytes:
    if kind == "rfc822":
        return _part(b"message/rfc822", label, parts[0])
    boundary = b"out%d" % number
    body = (
        b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts)
        + b"--"
        + boundary
        + b"--"
    )
    return _part(b"multipart/mixed; boundary=" + boundary, label, body)


ENTITIES = st.recursive(
    st.builds(_part, TYPES, LABELS, BODIES),
    lambda inner: st.builds(
        _whole,
        st.sampled_from(["mixed", "mixed", "rfc822"]),
        LABELS,
        st.lists(inner, min_size=1, max_size=3),
        st.integers(10_000, 10**9),
    ),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(ENTITIES, st.booleans())
@example(_part(b"text/plain", b"", b"--in\r\n\xff--"), False)
def test_a_message_means_the_same_after_it(entity: bytes, eight_bit: bool) -> None:
    message = b"Subject: x\r\n" + entity
    found = converted(message, eight_bit=eight_bit)
    before, after = leaves(message), leaves(found)
    assert [kind for kind, _ in after] == [kind for kind, _ in before]
    for (_, one), (_, other) in zip(before, after, strict=True):
        # the end of a whole message is a line end, or becomes one
        assert one.removesuffix(b"\r\n") == other.removesuffix(b"\r\n")
    assert headers(found) == headers(message)
    if is_fit(message, eight_bit=eight_bit) and (
        eight_bit or (b"8bit" not in message and b"binary" not in message)
    ):
        assert found == message


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.booleans())
@example(b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n--x\r\n--x--\xff", False)
def test_octets_of_any_kind_are_converted_or_refused(octets: bytes, eight_bit: bool) -> None:
    for message in (
        octets,
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n" + octets + b"\r\n--x--",
    ):
        with suppress(Inconvertible):
            found = b"".join(convert(message, eight_bit=eight_bit).blocks())
            assert b"".join(convert(message, eight_bit=eight_bit).blocks()) == found, (
                "a signature is made over it beforehand"
            )


@settings(max_examples=200, deadline=None)
@given(st.lists(LINES, max_size=8).map(b"\r\n".join))
def test_encoders_give_back_what_went_in(content: bytes) -> None:
    quoted = b"".join(encoding.quoted_printable(content, 0, len(content)))
    assert quopri.decodestring(quoted) == content
    assert max(map(len, quoted.split(b"\r\n"))) <= 76
    lines = set(content.split(b"\r\n"))
    mended = b"".join(encoding.mended_quoted_printable(quoted, 0, len(quoted)))
    assert mended == quoted
    for line in quoted.replace(b"=\r\n", b"\r\r\n").split(b"\r\r\n")[1:]:
        assert not line.startswith((b"-", b".", b"F")) or line in lines
    packed = b"".join(encoding.base64(content, 0, len(content)))
    assert base64.b64decode(packed) == content
    assert b"".join(encoding.mended_base64(packed, 0, len(packed))) == packed


def test_the_blocks_of_a_large_message_are_small() -> None:
    body = UMLAUTS * 40_000
    blocks = list(
        convert(make_message(body, b"Content-Type: text/plain"), eight_bit=False).blocks()
    )
    assert max(map(len, blocks)) < 4 * encoding.BLOCK
    assert leaves(b"".join(blocks))[0][1] == body


# What a stranger sends to keep us busy


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(make_message(b" " * 60_000 + b"x\r\n"), id="one line of spaces"),
        pytest.param(
            make_message(LONG, b"Content-Type: text/plain; x=" + b"(" * 2000 + b")" * 2000),
            id="comments in comments",
        ),
        pytest.param(
            make_message(LONG, b"Content-Type: text/plain; x=" + b"(" * 4000),
            id="comments without an end",
        ),
        pytest.param(
            make_message(LONG, b"Content-Type: text/plain; x=" + b'"\\' * 2000),
            id="quotes without an end",
        ),
    ],
)
def test_no_message_takes_long(message: bytes) -> None:
    def work() -> None:
        with suppress(Inconvertible):
            b"".join(convert(message, eight_bit=False).blocks())

    # thousandths of a second; what grew with the square of the length took minutes
    assert cost(work, 1) < 1


def test_lines_like_boundaries_have_a_bound() -> None:
    head = b"Content-Type: multipart/mixed; boundary=-"
    with pytest.raises(Inconvertible, match="like boundaries"):
        convert(
            make_message(b"---\r\n\r\n" + LONG + b"---x\r\n" * 200_000 + b"-----\r\n", head),
            eight_bit=False,
        )


def test_comments_are_taken_out_and_quoted_strings_are_not() -> None:
    body = (
        b'--a(b\r\nContent-Type: (a (nested) \\) one " here) text/plain\r\n\r\n'
        + UMLAUTS
        + b"--a(b--\r\n"
    )
    found = converted(make_message(body, b'Content-Type: multipart/mixed (said); boundary="a(b"'))
    assert found.count(b"Content-Transfer-Encoding: ") == 1 and found.index(
        b"Content-Transfer"
    ) > found.index(b"--a(b")
