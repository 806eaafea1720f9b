"""Facts of messages: parts, text, mark-up, links, names in archives; whatever the bytes are."""

from __future__ import annotations

import base64
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn.wire.message.mime import scan_message
from posthorn.wire.spam.facts import BUDGET_SECONDS, TEXT_BYTES, host_of, read_facts, shown_host
from posthorn.wire.spam.fields import MOST_FIELDS, read_header, read_mailboxes
from posthorn.wire.spam.markup import read_markup
from posthorn.wire.spam.parts import MOST_PARTS, decoded_end, walk_parts
from posthorn.wire.spam.rule import Case
from posthorn.wire.spam.scorer import score
from posthorn.wire.spam.tokens import tokens_of
from tests.support.cpu_cost import cost
from tests.support.spam import GOOD_TEXT, message, with_file, zipped

_MIB = 1024**2

NESTED = b"\r\n".join(
    [
        b"From: a@b.test",
        b'Content-Type: multipart/mixed; boundary="x"',
        b"",
        b"preamble",
        b"--xx",
        b"--x ",
        b'Content-Type: multipart/alternative; boundary="xx"',
        b"",
        b"--xx",
        b"",
        b"plain",
        b"--xx",
        b"Content-Type: text/html",
        b"",
        b"<p>rich <a href=http://A.test/>a</a>",
        b"--xx--",
        b"--x",
        b"Content-Type: message/rfc822",
        b"",
        b"Subject: inner",
        b"Content-Type: text/plain; charset=koi8-r",
        b"Content-Transfer-Encoding: base64",
        b"",
        base64.b64encode("привет".encode("koi8-r")),
        b"--x--",
        b"epilogue",
        b"",
    ]
)


def test_parts_are_those_of_the_exact_scanner() -> None:
    for content in (NESTED, message(), with_file("a.txt", b"x" * 100)):
        exact = [
            (part.fields.type, part.body_offset, part.body_offset + part.body_bytes)
            for _, part in scan_message(content).walk()
            if not part.parts
        ]
        assert [
            (leaf.fields.type, leaf.start, leaf.end) for leaf in walk_parts(content).leaves
        ] == exact


def test_text_of_all_parts() -> None:
    facts = read_facts(NESTED)
    assert facts.text.split() == ["plain", "привет", "rich", "a"]
    assert facts.types == ("text/plain", "text/html")
    assert facts.hosts == ("a.test",)
    assert (facts.parts, facts.deepest, facts.is_complete) == (6, 2, True)
    assert facts.markup is not None and facts.charsets == ("koi8-r",)


def test_text_is_bounded_over_all_parts() -> None:
    part = b"--x\r\n\r\n" + b"word " * 40_000 + b"\r\n"
    facts = read_facts(message("", {"Content-Type": "multipart/mixed; boundary=x"}) + part * 3)
    assert TEXT_BYTES - 10 < len(facts.text) <= TEXT_BYTES + 3


def test_limits_are_told() -> None:
    head = message("", {"Content-Type": "multipart/mixed; boundary=x"})
    many = read_facts(head + b"--x\r\n\r\na\r\n" * (MOST_PARTS + 5))
    assert many.parts == MOST_PARTS and not many.is_complete
    deep = b"".join(
        b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (each, each)
        for each in range(30)
    )
    assert not read_facts(deep).is_complete
    fields = read_header(b"".join(b"X%d: y\r\n" % each for each in range(1000)) + b"\r\nbody")
    assert len(fields.raw) == MOST_FIELDS


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("Ann <a@b.test>", [("Ann", "a@b.test")]),
        ('"Ann, B." <A@b.test>, c@d.test', [("Ann, B.", "a@b.test"), ("", "c@d.test")]),
        ("=?utf-8?b?w4Q=?= =?utf-8?q?=C3=96?= <a@b.test>", [("ÄÖ", "a@b.test")]),
        ("a@b.test (Ann)", [("Ann", "a@b.test")]),
        ("Team: a@b.test, c@d.test;", [("", "a@b.test"), ("", "c@d.test")]),
        ('"c@d.test" <a@b.test>', [("c@d.test", "a@b.test")]),
        ("Ann", [("Ann", "")]),
        ("", []),
        ("<<a@b.test", [("", "a@b.test")]),
    ],
)
def test_mailboxes(value: str, found: list[tuple[str, str]]) -> None:
    assert [(each.name, each.address) for each in read_mailboxes(value)] == found


def test_a_header_with_folds_and_faults() -> None:
    fields = read_header(b"Subject: a\r\n b\r\n\tc\r\nno field\r\n more\r\nX : y\r\n\r\nbody: no")
    assert fields.first("subject") == "a b c"
    assert fields.first("x") == "y"
    assert not fields.has("body") and fields.end == 46
    assert read_header(b"\r\nbody").end == 2
    assert read_header(b"").raw == {}


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://User:pw@Evil.test:8443/x?y=https://a.test", "evil.test"),
        ("www.a.test/x", "www.a.test"),
        ("http://[2001:db8::1]/", "2001:db8::1"),
        ("http://faß.de/", "xn--fa-hia.de"),
        ("http://[x/", ""),
        ("http:///x", ""),
    ],
)
def test_hosts_of_urls(url: str, host: str) -> None:
    assert host_of(url) == host


def test_only_a_text_that_is_a_url_shows_a_host() -> None:
    assert shown_host("https://Bank.test/login.") == "bank.test"
    assert shown_host("www.bank.test") == "www.bank.test"
    for text in ("click www.bank.test", "bank", "Version 1.2.test", "https://localhost"):
        assert shown_host(text) == ""


def test_markup_that_shows_and_hides() -> None:
    markup = read_markup(
        "<!-- <a href=x>no</a> --><style>p { }</style><title>T</title><P>Hello &amp; <B>you</b>"
        '<span style="font-size:0">pre<span>header</span></span><br>again'
        "<IMG src=a width=1 height=1><img src=b><a HREF = 'http://a.test/?x=1&amp;y'>see\nthis</a>"
        "<a href=unclosed>text<script>var x = '<p>no</p>'</script>"
    )
    assert " ".join(markup.text.split()) == "Hello & you againsee thistext"
    assert markup.hidden_characters == 9
    assert [(each.target, each.text) for each in markup.links] == [
        ("http://a.test/?x=1&y", "see this"),
        ("unclosed", "text"),
    ]
    assert markup.images == 1 and markup.has_script and not markup.has_form


@pytest.mark.parametrize("size", [0, 1, 2, 3, 56, 57, 58, 5000, 200_001])
def test_the_end_of_a_file_in_base64(size: int) -> None:
    content = os.urandom(size)
    (leaf,) = walk_parts(with_file("x.bin", content)).leaves[1:]
    assert decoded_end(with_file("x.bin", content), leaf, 4096) == content[-4096:]


@given(st.binary(max_size=2000))
def test_any_bytes(content: bytes) -> None:
    facts = read_facts(content)
    tokens_of(facts)
    score(Case(facts, received_at=1.0, own_domains={"ours.test"}))


_PIECES = [
    *(line + b"\r\n" for line in NESTED.split(b"\r\n")),
    b"Content-Disposition: attachment; filename*0*=utf-8''%ff\r\n",
    b"Content-Type: application/zip\r\n",
    base64.b64encode(zipped("a.exe"))[:70],
    b"<div hidden><a href='http://\xff",
    b"</div",
    b"From: =?utf-7?q?+AGE-?= <\xc3\x28@[",
    b"Date: Tue, 99 Foo 99999 99:99:99 +9999\r\n",
]


@given(st.lists(st.sampled_from(_PIECES), max_size=40))
def test_pieces_of_messages_in_any_order(pieces: list[bytes]) -> None:
    facts = read_facts(b"".join(pieces))
    tokens_of(facts)
    score(Case(facts, received_at=1.0, own_domains={"ours.test"}))


def _large(kind: str) -> bytes:
    head = message("", {"Content-Type": 'multipart/mixed; boundary="x"'})
    html = message("", html=True)
    size = 50 * _MIB
    match kind:
        case "delimiters":
            return head + b"\r\n--x" * (size // 5)
        case "parts":
            part = b"--x\r\nContent-Type: text/html\r\n\r\n<p>" + GOOD_TEXT.encode() + b"\r\n"
            return head + part * 10_000
        case "levels":
            level = b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n'
            deep = b"".join(level % (each, each) for each in range(1000))
            return deep + b"x\r\n" * (size // 3)
        case "tags":
            return html + b"<a href=http://x.test>" * (size // 22)
        case "characters":
            text = message("", {"Content-Type": "text/plain; charset=iso-2022-jp"})
            return text + b"\x1b$B\xff\xff\x1b(B" * (size // 8)
        case _:
            archive = b"PK\x03\x04" + b"\0" * 22 + b"\5\0\0\0a.exePK\x01\x02" * 300
            part = b"--x\r\nContent-Type: application/zip\r\n\r\n" + archive + b"\r\n"
            return head + part * 9000


@pytest.mark.parametrize(
    "kind",
    [
        "delimiters",
        "parts",
        "levels",
        "tags",
        "characters",
        "archives",
    ],
)
def test_no_message_costs_more_than_the_budget(kind: str) -> None:
    content = _large(kind)

    def work() -> None:
        facts = read_facts(content)
        tokens_of(facts)
        score(Case(facts))

    limit = 3 * BUDGET_SECONDS  # shared caches and cores can double what the same work costs
    assert cost(work, limit) < limit
