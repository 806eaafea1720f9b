"""Addresses of others: taken as they are, back and forth."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn.wire.address import AddressError, parse_address
from posthorn.wire.foreign_address import (
    canonical,
    foreign_domain,
    parse_foreign,
    parse_sender,
    written_form,
)
from posthorn.wire.srs import reverse, rewrite

KEY = b"k" * 32


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Alice@Example.TEST", "alice@example.test"),
        ('"a..b"@mobile.example', '"a..b"@mobile.example'),
        ("A..B@Mobile.example", "a..b@mobile.example"),
        ("a.@my_host.example", "a.@my_host.example"),
        ("x@_a.example.", "x@_a.example"),
        ("x@b\u00fccher_1.example", "x@xn--bcher_1-n2a.example"),
        ("x@b\u00fccher.my_host", "x@xn--bcher-kva.my_host"),
        ("y" * 200 + "@example.org", "y" * 200 + "@example.org"),
        ('"' + "y z" * 30 + '"@example.org', '"' + "y z" * 30 + '"@example.org'),
    ],
)
def test_what_is_taken(text: str, name: str) -> None:
    address = parse_foreign(text)
    assert str(address) == canonical(text) == name
    assert parse_foreign(str(address)) == address
    assert written_form(text, address).rpartition("@")[0] == text.rpartition("@")[0]


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "a",
            "@example.org",
            "a@",
            "a b@example.org",
            "a\u00a0..b@example.org",
            "a@b@example.org",
            "<a>@example.org",
        ),
        *(
            'a"b@example.org',
            "a..\r\n@example.org",
            "a..\0@example.org",
            "a..\x85@example.org",
            "a..\udcff@example.org",
        ),
        *("a..b@exam ple.org", "a..b@example..org", "a..b@", "a..b@a,b", "a@" + "_" * 64 + ".org"),
        "y" * 250 + "@example.org",
        "a..b@" + ".".join(["_" * 60] * 5),
    ],
)
def test_what_is_no_address_even_so(text: str) -> None:
    for read in (parse_foreign, parse_sender) if text != "a" else (parse_foreign,):
        with pytest.raises(AddressError):
            read(text)


def test_a_sender_may_lack_a_domain() -> None:
    assert str(parse_sender("Root")) == canonical("Root") == "root"
    assert written_form("Root", parse_sender("Root")) == "Root"


@given(st.text(max_size=40), st.text(max_size=20))
def test_nothing_else_is_raised_and_nothing_can_break_a_command(local: str, domain: str) -> None:
    for text in (f"{local}@{domain}", f"{local}..{local}@a_b.example", f"..{local}"):
        try:
            address = parse_sender(text)
        except AddressError:
            continue
        written = written_form(text, address)
        assert parse_sender(written) == address
        assert not any(sign in written for sign in "\r\n\0")


@pytest.mark.parametrize(
    "text", ["my_host.example", "_dmarc.example", "a_.b", "example.org", "[192.0.2.1]"]
)
def test_domains_of_others(text: str) -> None:
    assert foreign_domain(text.upper().replace("IPV6", "IPv6")) == text


@pytest.mark.parametrize(
    "sender",
    [
        "a..b@m.example",
        ".x@m.example",
        "a.@m.example",
        '"a..b"@m.example',
        '"a b"@m.example',
        "A..B@my_host.example",
    ],
)
def test_a_forwarded_senders_bounce_goes_to_the_address_as_written(sender: str) -> None:
    path = rewrite(sender, "ours.example", KEY, 20_000)
    assert parse_address(path).domain == "ours.example"
    assert reverse(path.rpartition("@")[0], (KEY,), 20_001) == sender
