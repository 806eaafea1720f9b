"""Header fields decoded for listings: labels as they are meant, words one by one, and no name
that poses as an address."""

from __future__ import annotations

import base64
import encodings
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn.wire.message.charsets import UnknownCharsetError, decode, decode_unlabelled
from posthorn.wire.message.header_decoding import decode_addresses, decode_text
from tests.support.cpu_cost import cost


def b(text: str, codec: str, label: str) -> str:
    return f"=?{label}?B?{base64.b64encode(text.encode(codec)).decode()}?="


@pytest.mark.parametrize(
    ("label", "codec", "text"),
    [
        ("gb2312", "gb18030", "會議通知 朱镕基"),
        ("GBK", "gb18030", "朱镕基"),
        ("shift_jis", "cp932", "①髙橋㈱"),
        ("ks_c_5601-1987", "cp949", "똠방각하"),
        ("euc-kr", "cp949", "펲시콜라"),
        ("iso-8859-1", "cp1252", "“quoted” – 20 €"),
        ("us-ascii", "cp1252", "naïve…"),
        ("windows-874", "cp874", "ประชุม"),
        ("TIS-620", "cp874", "ประชุม"),
        ("cp-1251", "cp1251", "Привет"),
        ("windows-1251", "cp1251", "Привет"),
        ("x-cp1250", "cp1250", "Žluťoučký"),
        ("iso-8859-8-i", "iso8859-8", "שלום"),
        ("iso-8859-9", "cp1254", "İstanbul €"),
        ("big5", "big5hkscs", "會議"),
        ("koi8-r", "koi8-r", "Привет"),
        ("iso-2022-jp", "iso2022_jp", "日本語 test"),
        ("UTF-8*de", "utf-8", "Grüße"),
        ("utf-7", "utf-7", "Grüße"),
        ("x-mac-roman", "mac_roman", "Grüße"),
    ],
)
def test_labels_as_they_are_meant(label: str, codec: str, text: str) -> None:
    assert decode_text(b(text, codec, label)) == text


def test_necs_characters_in_iso_2022_jp() -> None:
    assert decode(b"\x1b$B-!-j\x1b(B x", "iso-2022-jp") == "①㈱ x"


@pytest.mark.parametrize(
    "label",
    [
        "x-unknown",
        "rot13",
        "base64",
        "zlib",
        "unicode_escape",
        "idna",
        "punycode",
        "punycode-",
        "unicode--escape",
        "charmap",
        "",
        "ü",
        "undefined",
    ],
)
def test_what_is_no_charset_is_not_decoded(label: str) -> None:
    with pytest.raises(UnknownCharsetError):
        decode(b"abc", label)


def test_labels_of_strangers_are_not_kept() -> None:
    """Python keeps the name of each codec that it has looked for in vain, for ever."""
    words = " ".join(f"=?x-label-{number}?q?a?=" for number in range(5_000))
    assert cost(partial(decode_text, words), 1) < 1
    assert not [name for name in encodings._cache if "label" in name]


@pytest.mark.parametrize(
    ("field", "shown"),
    [
        (
            "=?UTF-8?Q?Gr=C3=BC=C3=9Fe?= =?x-unknown?Q?abc?= =?UTF-8?Q?_aus_K=C3=B6ln?=",
            "Grüße =?x-unknown?Q?abc?=  aus Köln",
        ),
        ("=?UTF-8?B?****?= =?UTF-8?Q?good?=", "=?UTF-8?B?****?= good"),
        ("=?UTF-8?Q?bad=FFhere?= =?koi8-r?B?8NLJ18XU?=", "bad\ufffdhereПривет"),
        ("Prix … 20 €, =?UTF-8?Q?=C3=A9t=C3=A9?=", "Prix … 20 €, été"),
        ("=?UTF-8?Q?a?= b =?UTF-8?Q?c?=", "a b c"),
        ("=?UTF-8?Q?a?=b", "ab"),
        ("(=?UTF-8?Q?a?=)", "(a)"),
        ("=?UTF-8?Q?a?=\t =?UTF-8?Q?b?=", "ab"),
        ("=?UTF-8?B?w7w=?= =?utf-8?B?w7w?=", "üü"),
        ("=?UTF-8?B?w7?= =?UTF-8?B?vA==?=", "ü"),
        ("=?UTF-8?Q?=C3?= =?UTF-8?Q?=BC?=", "ü"),
        ("=?UTF-8?Q?one=0D=0Atwo=1B[31mred=00end?=", "one two[31mredend"),
        ("one\ttwo", "one two"),
        ("\u202eevil\u202c \u2067x\u2069", "evil x"),
        ("=?UTF-8?Q?with blanks in it?=", "with blanks in it"),
        ("plain = text? =?", "plain = text? =?"),
        ("=?UTF-8?Q?whole?= =?UTF-8?B?5oOF5a", "whole"),
        ("", ""),
    ],
)
def test_words_one_by_one(field: str, shown: str) -> None:
    assert decode_text(field) == shown


@pytest.mark.parametrize(
    ("field", "shown"),
    [
        ('"=?UTF-8?Q?J=C3=B6rg_M?=" <j@example.org>', '"Jörg M" <j@example.org>'),
        ("=?UTF-8?Q?J=C3=B6rg_M?= <j@example.org>", "Jörg M <j@example.org>"),
        (
            "=?UTF-8?Q?boss_=3Cboss=40bank=2Etest=3E?= <other@evil.example>",
            '"boss <boss@bank.test>" <other@evil.example>',
        ),
        ("=?UTF-8?Q?Do=C3=A9=2C_John?= <john@example.org>", '"Doé, John" <john@example.org>'),
        ("=?UTF-8?Q?a=22_=3Cx=40y=3E?= <z@example.org>", '"a\\" <x@y>" <z@example.org>'),
        ("boss@bank.test <other@evil.example>", '"boss@bank.test" <other@evil.example>'),
        ("=?UTF-8?Q?boss=40bank=2Etest?=", '"boss@bank.test"'),
        ("Doe, John <j@example.org>", "Doe, John <j@example.org>"),
        ("J. Doe <j@example.org>, b@example.org", "J. Doe <j@example.org>, b@example.org"),
        ("j@example.org (=?UTF-8?Q?J=C3=B6rg_=29_=3Cx=40y=3E?=)", "j@example.org (Jörg \\) <x@y>)"),
        ("=?UTF-8?Q?one=0D=0A?= <a@example.org>", "one <a@example.org>"),
        ("=?UTF-8?Q?=E2=80=AEssob?= <a@example.org>", "ssob <a@example.org>"),
        ("a\u202e@example.org", "a@example.org"),
        ("a@example.org", "a@example.org"),
        ('"unclosed <a@example.org>', '"unclosed <a@example.org>'),
        ("(unclosed", "(unclosed)"),
        ("<a@example.org", "<a@example.org"),
        ("", ""),
    ],
)
def test_names_cannot_pose_as_addresses(field: str, shown: str) -> None:
    assert decode_addresses(field) == shown


def test_octets_without_a_label() -> None:
    assert decode_unlabelled("Grüße".encode()) == "Grüße"
    assert decode_unlabelled("Привет".encode("koi8-r"), "koi8-r") == "Привет"
    assert decode_unlabelled("Grüße – x".encode("cp1252"), "no-such") == "Grüße – x"


@given(
    st.text(max_size=200)
    | st.lists(
        st.sampled_from(
            ["=?", "?=", "?B?", "?Q?", "utf-8", "=41", '"', "<", ">", "(", ",", "\\", " "]
        )
    ).map("".join)
)
def test_nothing_fails_and_nothing_holds_controls(field: str) -> None:
    for shown in (decode_text(field), decode_addresses(field)):
        assert not any(character < " " or "\x7f" <= character <= "\x9f" for character in shown)
        shown.encode()
