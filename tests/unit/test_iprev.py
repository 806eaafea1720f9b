"""iprev: the name of a client's address, confirmed (RFC 8601 §3)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from posthorn.wire.auth.iprev import check_iprev
from posthorn.wire.auth.results import Iprev, Outcome
from tests.support.zone_lookup import Row, ZoneLookup

REVERSE = "1.2.0.192.in-addr.arpa"
ADDRESS: Sequence[Row] = [("A", "192.0.2.1"), ("AAAA", "2001:db8::1")]
LOST: Sequence[Row] = [("TIMEOUT",)]


def names(*hosts: str) -> list[Row]:
    return [("PTR", host) for host in hosts]


@pytest.mark.parametrize(
    ("zone", "result"),
    [
        ({}, Iprev(Outcome.PERMERROR)),
        ({REVERSE: []}, Iprev(Outcome.PERMERROR)),
        ({REVERSE: LOST}, Iprev(Outcome.TEMPERROR)),
        (
            {REVERSE: names("Mail.A.test."), "mail.a.test": ADDRESS},
            Iprev(Outcome.PASS, "mail.a.test"),
        ),
        ({REVERSE: names("a.test", "b.test"), "b.test": ADDRESS}, Iprev(Outcome.PASS, "b.test")),
        ({REVERSE: names("a.test", "b.test"), "a.test": LOST}, Iprev(Outcome.TEMPERROR)),
        (
            {REVERSE: names("a.test", "b.test"), "a.test": LOST, "b.test": ADDRESS},
            Iprev(Outcome.PASS, "b.test"),
        ),
        ({REVERSE: names("a.test"), "a.test": [("A", "192.0.2.2")]}, Iprev(Outcome.FAIL)),
        ({REVERSE: names("a; x=pass.test", "a\r\nb.test")}, Iprev(Outcome.FAIL)),
    ],
)
async def test_a_name_counts_if_it_leads_back(
    zone: dict[str, Sequence[Row]], result: Iprev
) -> None:
    assert await check_iprev(ZoneLookup(zone), "192.0.2.1") == result
    assert await check_iprev(ZoneLookup(zone), "::ffff:192.0.2.1") == result


async def test_an_address_of_ipv6_is_confirmed_by_aaaa() -> None:
    zone = {
        "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa": names("a.test"),
        "a.test": ADDRESS,
    }
    assert await check_iprev(ZoneLookup(zone), "2001:DB8:0::1") == Iprev(Outcome.PASS, "a.test")


async def test_ten_names_are_looked_up_at_most() -> None:
    lookup = ZoneLookup({REVERSE: names(*(f"h{n}.test" for n in range(12))), "h11.test": ADDRESS})
    assert await check_iprev(lookup, "192.0.2.1") == Iprev(Outcome.FAIL)
    assert len(lookup.asked) == 11


async def test_what_is_not_an_address_has_no_result() -> None:
    assert await check_iprev(ZoneLookup({}), "unix:/run/x") == Iprev()
