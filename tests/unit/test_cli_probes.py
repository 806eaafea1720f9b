"""What the doctor makes of names, lists and places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address

import pytest

from posthorn_cli.faults import CommandError
from posthorn_cli.places import Place, place_of
from posthorn_cli.probes import FAIL, OK, UNKNOWN, address_of_pointer, blocklisted
from posthorn_cli.reserved import is_reserved

ZONE = "list.example"
TEST_ENTRY = {"2.0.0.127.list.example.": ["127.0.0.2"]}


class Names:
    """A resolver that knows these."""

    def __init__(self, known: Mapping[str, Sequence[str]]) -> None:
        self.known = known

    def __call__(self, name: str) -> Sequence[str]:
        return self.known.get(name, [])


def no_dns(name: str) -> Sequence[str]:
    raise OSError(f"no answer for {name}")


ADDRESS = ip_address("8.8.4.4")


def test_an_address_on_a_list_fails() -> None:
    names = Names({**TEST_ENTRY, "4.4.8.8.list.example.": ["127.0.0.4"]})
    finding = blocklisted(ADDRESS, ZONE, names)
    assert finding.status == FAIL
    assert "127.0.0.4" in finding.detail


def test_an_address_on_no_list_is_well() -> None:
    assert blocklisted(ADDRESS, ZONE, Names(TEST_ENTRY)).status == OK


def test_an_ipv6_address_is_looked_up_by_its_digits() -> None:
    address = ip_address("2001:4860:4860::8888")
    name = ".".join(reversed(address.exploded.replace(":", ""))) + ".list.example."
    assert blocklisted(address, ZONE, Names({**TEST_ENTRY, name: ["127.0.0.2"]})).status == FAIL


@pytest.mark.parametrize(
    "names",
    [
        no_dns,
        Names({}),  # a resolver that finds nothing, or a list that is gone
        Names(
            {
                "2.0.0.127.list.example.": ["127.255.255.254"],
                "4.4.8.8.list.example.": ["127.255.255.254"],
            }
        ),
        Names(
            {"2.0.0.127.list.example.": ["203.0.113.7"], "4.4.8.8.list.example.": ["203.0.113.7"]}
        ),  # a captive portal
    ],
)
def test_what_cannot_be_found_out_is_unknown(names: Names) -> None:
    assert blocklisted(ADDRESS, ZONE, names).status == UNKNOWN


@pytest.mark.parametrize("address", ["10.0.0.1", "127.0.0.1", "fd00::1", "203.0.113.9"])
def test_addresses_that_are_not_of_the_internet_are_on_no_list(address: str) -> None:
    assert blocklisted(ip_address(address), ZONE, Names(TEST_ENTRY)).status == UNKNOWN


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("mail.example.org:465", Place("mail.example.org", 465, "tls")),
        ("mail.example.org:25", Place("mail.example.org", 25, "smtp")),
        ("mail.example.org:110", Place("mail.example.org", 110, "pop3")),
        ("mail.example.org:143", Place("mail.example.org", 143, "imap")),
        ("mail.example.org:993", Place("mail.example.org", 993, "tls")),
        ("smtp://[::1]:9025", Place("::1", 9025, "smtp")),
    ],
)
def test_places(text: str, place: Place) -> None:
    assert place_of(text) == place


@pytest.mark.parametrize(
    "text", ["", "mail.example.org", ":25", "host:0", "host:70000", "host:x", "ftp://host:21"]
)
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(CommandError):
        place_of(text)


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::7"])
def test_the_address_of_a_pointer(address: str) -> None:
    assert address_of_pointer(ip_address(address).reverse_pointer) == ip_address(address)
    assert address_of_pointer("mail.example.org") is None
    assert address_of_pointer("x.2.0.192.in-addr.arpa") is None


@pytest.mark.parametrize(
    "name",
    [
        "example.test",
        "a.b.TEST",
        "localhost",
        "mail.localhost.",
        "x.invalid",
        "d.example",
        "example.com",
        "mx.example.org",
    ],
)
def test_reserved_names(name: str) -> None:
    assert is_reserved(name)


@pytest.mark.parametrize(
    "name", ["example.de", "test.org", "myexample.com", "contest", "localhost.net", "example.co"]
)
def test_names_that_are_not_reserved(name: str) -> None:
    assert not is_reserved(name)
