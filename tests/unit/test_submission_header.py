"""The header of a submitted message: completed, and its authors read as everybody reads them."""

from __future__ import annotations

import asyncio
import itertools
from email import policy
from email.parser import BytesParser

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from posthorn.wire.address import AddressError, parse_address
from posthorn.wire.message.submission import (
    HEADER_LIMIT,
    QUOTE_IT,
    AuthorError,
    HeaderError,
    Submitted,
    authors_of,
    complete,
)
from posthorn.wire.smtp import replies as smtp
from posthorn_smtp_in.message_buffer import ByteBudget, MessageBuffer, SpoolLimits

DATE, MESSAGE_ID = "Tue, 14 Nov 2023 22:13:20 +0000", "<id@example.test>"
ADDED = f"Date: {DATE}\r\nMessage-ID: {MESSAGE_ID}\r\n".encode()


def completed(block: bytes) -> Submitted:
    return complete(block, date=DATE, message_id=MESSAGE_ID)


@pytest.mark.parametrize(
    ("block", "stored"),
    [
        (b"", ADDED),
        (b"From: a@b.c\r\n", b"From: a@b.c\r\n" + ADDED),
        (b"From: a@b.c", b"From: a@b.c\r\n" + ADDED),
        (b"date:x\r\nmessage-ID :y\r\n", b"date:x\r\nmessage-ID :y\r\n"),
        (b"Date:\r\n x\r\n", b"Date:\r\n x\r\nMessage-ID: <id@example.test>\r\n"),
        (b"Bcc: x\r\n y\r\n\tz\r\nA: b\r\n c\r\nRESENT-BCC \t: d\r\n", b"A: b\r\n c\r\n" + ADDED),
        (b"Bcc:\r\nA: b\r\n", b"A: b\r\n" + ADDED),
        (b"Return-Path: <x@y.z>\r\nA: b\r\n", b"A: b\r\n" + ADDED),
        (b"X-Bcc: stays\r\nBcc-Not: stays\r\n", b"X-Bcc: stays\r\nBcc-Not: stays\r\n" + ADDED),
        (b"A: \xff\0 raw\r\n", b"A: \xff\0 raw\r\n" + ADDED),
        (
            b"A:\r\n \r\n Bcc: folded, no field\r\n",
            b"A:\r\n \r\n Bcc: folded, no field\r\n" + ADDED,
        ),
    ],
)
def test_completion(block: bytes, stored: bytes) -> None:
    assert completed(block).block == stored


@pytest.mark.parametrize(
    "block",
    [b" folded\r\n", b"A: b\r\nno field\r\nC: d\r\n", b": x\r\n", b"\xff: x\r\n", b"a b: c\r\n"],
)
def test_what_is_no_header(block: bytes) -> None:
    with pytest.raises(HeaderError):
        completed(block)


@pytest.mark.parametrize(
    ("value", "authors"),
    [
        ("a@b.c", ["a@b.c"]),
        ("<A@B.C>", ["a@b.c"]),
        ("Al (x (y) \\) ) Xu. <a@b.c>", ["a@b.c"]),
        ('"x@y, <z>" <a@b.c>, (hm) "q q"@d.e (c)', ["a@b.c", '"q q"@d.e']),
        ("=?utf-8?q?x=40y?= <a@b.c>", ["a@b.c"]),
        ("Ümlaut\r\n <ü@bücher.example>", ["ü@xn--bcher-kva.example"]),
        (", a@b.c,,", ["a@b.c"]),
        ("a @ b.c", ["a@b.c"]),
        ("a@[192.0.2.1]", ["a@[192.0.2.1]"]),
    ],
)
def test_authors(value: str, authors: list[str]) -> None:
    assert [str(author) for author in authors_of(f"From: {value}\r\n".encode())] == authors


@pytest.mark.parametrize(
    "value",
    [
        "",
        "nobody",
        "x@y$.z <a@b.c>",
        "@ a <a@b.c>",
        "<a@b.c> <d@e.f>",
        "<a@b.c> x",
        "a b@c.d",
        "a@b c.d",
        "group: a@b.c;",
        "<@relay.example:a@b.c>",
        '"unended <a@b.c>',
        "(unended a@b.c",
        "a@b.c)",
        "a@b.c\0",
        "a\x01@b.c",
        "a;b@c.d",
        "x [1] <a@b.c>",
        "a\\@b.c",
        "a@b@c.d",
        "<a@b.c",
        ", ".join(["a@b.c"] * 21),
        "x" * 20_000 + " <a@b.c>",
    ],
)
def test_what_is_nobodys(value: str) -> None:
    with pytest.raises(AuthorError):
        authors_of(f"From: {value}\r\n".encode())
    submitted = completed(f"From: {value}\r\n".encode())
    assert submitted.authors == ()
    assert submitted.fault


def test_there_is_one_from_field() -> None:
    for block in (b"Subject: x\r\n", b"From: a@b.c\r\nFROM : a@b.c\r\n"):
        assert completed(block).authors == ()
        assert completed(block).fault


_PIECES = [
    "a@b.c",
    "x@y.z",
    "<",
    ">",
    "<a@b.c>",
    ",",
    " ",
    '"',
    '"q"',
    "(",
    ")",
    "\\",
    ":",
    ";",
    "@",
    "Al",
    "[",
    "]",
    "é",
    ".",
]


@example("a@b.cé")
@given(st.lists(st.sampled_from(_PIECES), max_size=12).map("".join))
def test_no_other_parser_finds_an_author_that_was_not_found_here(value: str) -> None:
    field = f"From: {value}\r\n".encode()
    try:
        authors = {str(author) for author in authors_of(field)}
    except AuthorError:
        return
    message = BytesParser(policy=policy.SMTPUTF8).parsebytes(field + b"\r\n")
    for mailbox in message["From"].addresses:
        if mailbox.username and mailbox.domain:
            assert canonical(mailbox.addr_spec) in {author.replace('"', "") for author in authors}


def canonical(spec: str) -> str:
    """The form in which we know an address; Python leaves the octets of a domain as they came."""
    whole = spec.encode(errors="surrogateescape").decode(errors="replace")
    try:
        return str(parse_address(whole)).replace('"', "")
    except AddressError:
        return whole.lower().replace('"', "")


@given(st.binary(max_size=400))
def test_any_octets_are_a_header_or_an_error(octets: bytes) -> None:
    block = octets.replace(b"\r", b"").replace(b"\n", b"\r\n")
    try:
        submitted = completed(block)
    except HeaderError:
        return
    assert submitted.block.endswith(b"\r\n")
    assert submitted.block.count(b"\n") == submitted.block.count(b"\r\n")
    names = [
        line.partition(b":")[0].strip().lower()
        for line in submitted.block.split(b"\r\n")
        if line[:1] not in b" \t"
    ]
    assert not {b"bcc", b"resent-bcc", b"return-path"} & set(names)
    assert {b"date", b"message-id"} <= set(names)
    again = completed(submitted.block)
    assert again.block == submitted.block


TRACE = b"Return-Path: <a@b.c>\r\nReceived: from c\r\n\tby mx\r\n"
_LINES = st.lists(
    st.sampled_from(
        [
            b"A: b",
            b"Bcc: x",
            b"From: a@b.c",
            b"Date: y",
            b"",
            b".",
            b"text",
            b" folded",
            b"x" * 1200,
            b"\0\xff",
        ]
    ),
    max_size=10,
).map(lambda lines: b"".join(line + b"\r\n" for line in lines))


def room(memory: int = 1 << 22) -> SpoolLimits:
    return SpoolLimits(ByteBudget(memory, "memory"), ByteBudget(1 << 24, "spool"), 1 << 16, 1 << 24)


async def stored(pieces: list[bytes]) -> bytes:
    place = room()
    message = MessageBuffer(place, TRACE, 22, lambda block: completed(block).block)
    for piece in pieces:
        await message.add(piece)
    await message.finish()
    octets = repr(message.fault.kind).encode() if message.fault else await message.octets()
    message.discard()
    assert (place.memory.used, place.spool.used) == (0, 0)
    return octets


@settings(max_examples=80, deadline=None)
@given(_LINES, st.lists(st.integers(0, 3000), max_size=6))
def test_how_a_letter_was_cut_makes_no_difference(content: bytes, at: list[int]) -> None:
    edges = [0, *sorted(min(offset, len(content)) for offset in at), len(content)]
    cut = [content[begin:end] for begin, end in itertools.pairwise(edges)]

    async def check() -> None:
        whole = await stored([content])
        assert await stored([piece for piece in cut if piece]) == whole
        assert await stored([bytes([octet]) for octet in content]) == whole
        if whole.startswith(TRACE):
            head, _, body = whole[len(TRACE) :].partition(b"\r\n\r\n")
            assert completed(head + b"\r\n").block == head + b"\r\n"
            is_fit = all(
                len(line) <= 998 for line in content.split(b"\r\n")
            )  # others are re-encoded before they are signed
            if content.startswith(b"A: b\r\n\r\n") and is_fit:
                assert body == content[len(b"A: b\r\n\r\n") :]

    asyncio.run(check())


async def test_a_header_is_held_back_within_what_all_sessions_share() -> None:
    place = room(memory=1000)
    message = MessageBuffer(place, TRACE, 22, lambda block: block)
    await message.add(b"A: b\r\n" * 200)
    assert message.fault is smtp.FULL
    assert place.memory.used == 0


@pytest.mark.parametrize("piece", [1 << 10, 1 << 19])
async def test_a_header_that_is_too_long_is_given_up_early(piece: int) -> None:
    place = room()
    message = MessageBuffer(place, TRACE, 22, lambda block: block)
    content = (b"A: " + b"x" * 59 + b"\r\n") * (HEADER_LIMIT // 64 + 1) + b"\r\n"
    for begin in range(0, len(content), piece):
        await message.add(content[begin : begin + piece])
        assert place.memory.used <= HEADER_LIMIT + piece
    assert message.fault is smtp.HEADER_TOO_BIG
    assert place.memory.used == 0


@pytest.mark.parametrize(
    ("value", "authors"),
    [
        ("a@b.c <a@b.c>", ["a@b.c"]),
        ("A@B.c <a@b.c>", ["a@b.c"]),
        ("'a@b.c' <a@b.c>", ["a@b.c"]),
        ("Ann a@b.c <a@b.c>", ["a@b.c"]),
        ("x@y.z <a@b.c>", ["a@b.c", "x@y.z"]),
        ("info@b.c Ann a@b.c (x@y.z) <a@b.c>, d@b.c <d@b.c>", ["a@b.c", "d@b.c", "info@b.c"]),
        ("a..b@x_y.z", ["a..b@x_y.z"]),
        (f"{'x' * 90}@b.c", [f"{'x' * 90}@b.c"]),
    ],
)
def test_addresses_in_a_name_are_authors_too(value: str, authors: list[str]) -> None:
    assert [str(author) for author in authors_of(f"From: {value}\r\n".encode())] == authors


@pytest.mark.parametrize(
    ("value", "is_unquoted"),
    [
        ("[Shop] News <a@b.c>", True),
        ("Shop: News <a@b.c>", True),
        ("Ops; Team <a@b.c>", True),
        ("Doe, Ann <a@b.c>", True),
        ("A\\B <a@b.c>", True),
        ("Ann @ work <a@b.c>", True),
        ("=?utf-8?q?a=40b=2Ec?=", False),
        ("nobody", False),
        ("a@b@c", False),
    ],
)
def test_a_name_that_must_be_quoted_is_told_from_other_faults(
    value: str, is_unquoted: bool
) -> None:
    submitted = complete(f"From: {value}\r\n".encode(), date="d", message_id="<m@x>")
    assert (submitted.authors, submitted.is_unquoted) == ((), is_unquoted)
    assert submitted.fault.startswith("From: ")
    assert submitted.advice.startswith(QUOTE_IT) is is_unquoted


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("[Shop] News <a@b.c>", '"[Shop] News" <a@b.c>'),
        ("Doe, Ann\r\n <a@b.c>", '"Doe, Ann" <a@b.c>'),
        ("A\\B <a@b.c>", '"A\\\\B" <a@b.c>'),
        ('Ann "the cook", Doe <a@b.c>', '"Ann the cook, Doe" <a@b.c>'),
        ("Köln: Süd <a@b.c>", '"Köln: Süd" <a@b.c>'),
    ],
)
def test_the_advice_shows_the_field_as_it_would_be_taken(value: str, shown: str) -> None:
    submitted = complete(f"From: {value}\r\n".encode(), date="d", message_id="<m@x>")
    assert submitted.advice == f"{QUOTE_IT}: {shown}"
    assert [str(author) for author in authors_of(f"From: {shown}\r\n".encode())] == ["a@b.c"]


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (b"Doe: A <a@b.c>, Roe: B <b@b.c>", QUOTE_IT),
        (b"Doe: \xff <a@b.c>", QUOTE_IT),
        (b"x" * 101 + b": <a@b.c>", QUOTE_IT),
        (b"=?utf-8?q?a=40b=2Ec?=", "an address cannot stand in an encoded word (RFC 2047 \u00a75)"),
        (b"nobody", ""),
    ],
)
def test_no_more_is_advised_than_can_be_told(value: bytes, advice: str) -> None:
    assert complete(b"From: " + value + b"\r\n", date="d", message_id="<m@x>").advice == advice


def test_a_fault_names_its_field() -> None:
    block = b"From: a@b.c\r\nResent-From: Shop: News <a@b.c>\r\n"
    submitted = complete(block, date="d", message_id="<m@x>")
    assert submitted.fault == "Resent-From: a : where none may be"
