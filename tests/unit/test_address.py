"""Addresses: one canonical form for everything people and programs write, and nothing but
AddressError for the rest."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from posthorn.wire.address import (
    MAX_DOMAIN_OCTETS,
    MAX_LOCAL_OCTETS,
    Address,
    AddressError,
    canonical_domain,
    display_domain,
    parse_address,
    quote_local,
)
from tests.support.cpu_cost import cost


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("alice@example.test", "alice@example.test"),
        ("Alice@EXAMPLE.test", "alice@example.test"),
        ("alice@example.test.", "alice@example.test"),
        ('"alice"@example.test', "alice@example.test"),
        ('"a\\lice"@example.test', "alice@example.test"),
        ('"two words"@example.test', '"two words"@example.test'),
        ('"a@b"@example.test', '"a@b"@example.test'),
        ('"a\\"b\\\\c"@example.test', '"a\\"b\\\\c"@example.test'),
        ('".dot"@example.test', '".dot"@example.test'),
        ("a+b-c_d/e=f{}~!#$%&'*?^`|@example.test", "a+b-c_d/e=f{}~!#$%&'*?^`|@example.test"),
        ("JÖRG@example.test", "jörg@example.test"),
        ("jo\u0308rg@example.test", "jörg@example.test"),
        ("иван@пример.испытание", "иван@xn--e1afmkfd.xn--80akhbyknj4f"),
        ("x@BÜCHER.example", "x@xn--bcher-kva.example"),
        ("x@bu\u0308cher.example", "x@xn--bcher-kva.example"),
        ("x@XN--BCHER-KVA.example", "x@xn--bcher-kva.example"),
        ("x@faß.de", "x@xn--fa-hia.de"),
        ("x@fass.de", "x@fass.de"),
        ("x@[192.0.2.1]", "x@[192.0.2.1]"),
        ("x@[IPv6:2001:DB8:0::1]", "x@[IPv6:2001:db8::1]"),
        ("x@[ipv6:::1]", "x@[IPv6:::1]"),
        ("x@localhost", "x@localhost"),
        ("x@1.2.3", "x@1.2.3"),
        ("a\u037eb@example.test", '"a;b"@example.test'),
    ],
)
def test_the_canonical_form(text: str, canonical: str) -> None:
    assert str(parse_address(text)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "alice",
        "alice@",
        "@example.test",
        '""@example.test',
        "a b@example.test",
        "a..b@example.test",
        ".a@example.test",
        "a.@example.test",
        'a"b"@example.test',
        '"a"b"@example.test',
        '"a@example.test',
        '"a\\"@example.test',
        "<a@example.test>",
        "a@b@example.test",
        "a@example..test",
        "a@.example.test",
        "a@-example.test",
        "a@example-.test",
        "a@exa_mple.test",
        "a@exa mple.test",
        "a@example.test..",
        "a@.",
        "a@[]",
        "a@[1.2.3]",
        "a@[1.2.3.4",
        "a@[1.2.3.04]",
        "a@[2001:db8::1]",
        "a@[IPv6:1.2.3.4]",
        "a@[IPv6:fe80::1%eth0]",
        "a@[IPv6:fe80::1%]] x]",
        "a\r\nb@example.test",
        "a\0b@example.test",
        "a\x7f@example.test",
        "a\x85b@example.test",
        "a\u2028b@example.test",
        "a@exam\u2028ple.test",
        "a\ud800@example.test",
        "a@b\udcff.test",
        '"a\nb"@example.test',
        "a@xn--.test",
        "a@xn--abc-.test",
        "a@xn--xn--foo-.test",
        "a@xn--99999999.test",
        "a@xn--ü.test",
        f"{'x' * 65}@example.test",
        f"{'ö' * 33}@example.test",
        f"x@{'y' * 64}.test",
        "x@" + ".".join(["y" * 50] * 6),
    ],
)
def test_what_is_no_address_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(AddressError) as refused:
        parse_address(text)
    assert len(str(refused.value)) > 15
    assert "\n" not in str(refused.value)


def test_lengths_are_counted_in_octets_of_the_canonical_form() -> None:
    assert len(parse_address("x" * MAX_LOCAL_OCTETS + "@example.test").local) == MAX_LOCAL_OCTETS
    assert parse_address("ö" * 32 + "@example.test").local == "ö" * 32
    assert (
        parse_address('"' + "\\x" * MAX_LOCAL_OCTETS + '"@example.test').local
        == "x" * MAX_LOCAL_OCTETS
    )
    longest = ".".join(["y" * 63] * 3 + ["z" * 63])
    assert len(longest) == MAX_DOMAIN_OCTETS
    assert parse_address(f"x@{longest}.").domain == longest


@pytest.mark.parametrize(
    "text",
    ["a@xn--" + "a" * 2_000_000, "a@" + "ü" * 2_000_000, "ö" * 2_000_000, "a@" + "b." * 999_999],
)
def test_endless_input_is_refused_at_once(text: str) -> None:
    def work() -> None:
        with pytest.raises(AddressError):
            parse_address(text)
        with pytest.raises(AddressError):
            canonical_domain(text.partition("@")[2] or text)

    # hundredths of a second; what grew with the square of the length took hours
    assert cost(work, 5) < 5


def test_the_base_of_a_tagged_address() -> None:
    assert parse_address("alice+news@example.test").base == Address("alice", "example.test")
    assert parse_address("alice+a+b@example.test").base == Address("alice", "example.test")
    assert parse_address("alice+@example.test").base == Address("alice", "example.test")
    assert parse_address("+news@example.test").base is None
    assert parse_address("alice@example.test").base is None


def test_which_addresses_need_smtputf8() -> None:
    assert parse_address("alice@bücher.example").is_ascii
    assert not parse_address("jörg@example.test").is_ascii


def test_a_domain_is_shown_as_people_write_it() -> None:
    assert display_domain("xn--bcher-kva.example") == "bücher.example"
    assert display_domain("example.test") == "example.test"
    assert display_domain("[192.0.2.1]") == "[192.0.2.1]"


_WORDS = st.text(st.characters(codec="utf-8"), max_size=30)
_NEARLY = st.one_of(
    _WORDS,
    st.builds(lambda a, b: f"{a}@{b}", _WORDS, _WORDS),
    st.builds(lambda a, b: f'"{a}"@{b}.test', _WORDS, _WORDS),
    st.builds(lambda a, b: f"x@xn--{a}.{b}", st.text("abcxyz019-éß", max_size=20), _WORDS),
    st.builds(lambda a: f"x@[{a}]", st.text("IPv6:0123456789abcdef.%", max_size=30)),
    st.from_regex(r"[a-zA-Z0-9.+\"\\ ]{1,20}@[a-zA-Z0-9.-]{1,30}", fullmatch=True),
)


@given(_NEARLY)
@example("\u0130@\u0130.test")
@example("\u03a3@a\u03a3.\u03a3b")
@example("\u212a@\u212a.test")
@example("x@xn--xn--a-9ga.test")
@example("x@\u1e9e.test")
@example("x@xn--a-ba.test")
@example("x@xn--a-ein.test")
def test_canonical_is_canonical_and_nothing_else_is_raised(text: str) -> None:
    try:
        address = parse_address(text)
    except AddressError:
        return
    assert parse_address(str(address)) == address
    assert canonical_domain(address.domain) == address.domain
    assert address.domain.isascii()
    assert len(address.local.encode()) <= MAX_LOCAL_OCTETS
    assert canonical_domain(display_domain(address.domain)) == address.domain
    for sign in "\r\n\0":
        assert sign not in str(address)
    base = address.base
    assert base is None or parse_address(str(base)) == base


@given(st.text(max_size=60))
def test_any_text_is_a_domain_or_refused(text: str) -> None:
    try:
        domain = canonical_domain(text)
    except AddressError:
        return
    assert canonical_domain(domain.upper().replace("IPV6", "IPv6")) == domain


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=40))
def test_any_printable_local_part_can_be_quoted_and_read_back(local: str) -> None:
    assert parse_address(quote_local(local.lower()) + "@example.test").local == local.lower()


@given(
    st.sampled_from(["alice", "JÖRG", "иван"]),
    st.sampled_from(["Example.TEST", "bücher.example", "[192.0.2.1]"]),
)
def test_case_does_not_matter(local: str, domain: str) -> None:
    plain = parse_address(f"{local}@{domain}")
    assert (
        parse_address(f"{local.upper()}@{domain.lower()}")
        == plain
        == parse_address(f"{local.lower()}@{domain}")
    )
