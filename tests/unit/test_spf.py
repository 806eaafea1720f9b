"""SPF: the cases of the RFC's own suite, and what it leaves open. tests/data/spf_cases.json has the
facts of the suite: zones, questions and the results that are permitted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthorn.ports.scan import SenderQuestion
from posthorn.runtime.blocklists import Blocklists
from posthorn.wire.auth.results import Outcome, Spf
from posthorn.wire.auth.spf import EXPLANATION_LIMIT, REASON_LIMIT, SpfLimits, check_spf
from posthorn.wire.auth.spf_macros import SpfError, expand, parse_macros, shortened
from posthorn.wire.auth.spf_record import parse_spf
from posthorn_scan.sender import SenderChecks
from tests.support.zone_lookup import Row, ZoneLookup

SECTIONS = json.loads((Path(__file__).parents[1] / "data" / "spf_cases.json").read_text())
CASES = [
    pytest.param(section["zone"], case, id=name)
    for section in SECTIONS
    for name, case in section["cases"].items()
]
HOST = "mx.here.test"


async def checked(
    zone: Mapping[str, Sequence[Row]],
    client: str = "192.0.2.1",
    sender: str = "user@a.test",
    helo: str = "mail.a.test",
    limits: SpfLimits | None = None,
) -> tuple[Spf, ...]:
    return await check_spf(
        ZoneLookup(zone),
        client=client,
        helo=helo,
        reverse_path=sender,
        hostname=HOST,
        limits=limits or SpfLimits(),
    )


async def outcome(
    record: str, zone: Mapping[str, Sequence[Row]] | None = None, client: str = "192.0.2.1"
) -> Outcome:
    """The outcome for a.test with this record."""
    names = dict(zone or {})
    names["a.test"] = [*names.get("a.test", ()), ("TXT", record)]
    return (await checked(names, client))[-1].outcome


def test_all_cases_of_the_suite_are_here() -> None:
    assert len(CASES) == 203


@pytest.mark.parametrize(("zone", "case"), CASES)
async def test_the_suite_of_rfc_7208(zone: dict[str, list[Row]], case: list[Any]) -> None:
    client, helo, sender, permitted, *explanation = case
    result = (await checked(zone, client, sender, helo))[-1]
    assert result.outcome.value in permitted, result.reason
    assert result.identity == ("mailfrom" if sender else "helo")
    if explanation:
        assert result.explanation == explanation[0]


async def test_trap_6_hosts_of_an_mx_are_no_terms() -> None:
    hosts = [("MX", number, f"h{number}.test") for number in range(10)]
    addresses: dict[str, Sequence[Row]] = {
        f"h{number}.test": [("A", f"192.0.2.{number}")] for number in range(10)
    }
    record = "v=spf1 mx mx mx mx mx mx mx mx mx mx -all"
    zone: dict[str, Sequence[Row]] = {"a.test": [("TXT", record), *hosts], **addresses}
    assert (await checked(zone, "192.0.2.9"))[-1].outcome is Outcome.PASS
    assert (await checked(zone, "192.0.2.99"))[-1].outcome is Outcome.FAIL


async def test_trap_6_the_limit_of_void_lookups_is_a_setting() -> None:
    zone: dict[str, list[Row]] = {
        "a.test": [("TXT", "v=spf1 a:b.test a:c.test exists:d.test ip4:192.0.2.1 -all")]
    }
    assert (await checked(zone))[-1].outcome is Outcome.PERMERROR
    assert (await checked(zone, limits=SpfLimits(void_lookups=3)))[-1].outcome is Outcome.PASS


async def test_trap_6_a_failed_lookup_is_a_temporary_error_and_nothing_else() -> None:
    record = "v=spf1 {} -all"
    for term in ("a:t.test", "mx:t.test", "exists:t.test", "include:t.test"):
        found = await outcome(record.format(term), {"t.test": [("TIMEOUT",)]})
        assert found is Outcome.TEMPERROR, term
    dead_host = await outcome(
        "v=spf1 mx -all", {"a.test": [("MX", 1, "t.test")], "t.test": [("TIMEOUT",)]}
    )
    assert dead_host is Outcome.TEMPERROR
    assert await outcome("v=spf1 ip4:192.0.2.1 a:t.test -all", {"t.test": [("TIMEOUT",)]}) is (
        Outcome.PASS
    )


async def test_trap_11_the_null_reverse_path_is_checked_by_helo() -> None:
    zone: dict[str, list[Row]] = {
        "mail.a.test": [("TXT", "v=spf1 exists:%{l}.%{o}.ok.test -all")],
        "postmaster.mail.a.test.ok.test": [("A", "127.0.0.2")],
    }
    (result,) = await checked(zone, sender="", helo="MAIL.a.test.")
    assert result == Spf(
        Outcome.PASS, "helo", "mail.a.test", "exists:%{l}.%{o}.ok.test of mail.a.test"
    )


async def test_helo_comes_first_and_each_check_has_its_own_budget() -> None:
    terms = " ".join(["a:none.b.test"] * 10)
    zone: dict[str, list[Row]] = {
        "mail.a.test": [("TXT", f"v=spf1 {terms} -all")],
        "a.test": [("TXT", f"v=spf1 {terms} ip4:192.0.2.1 -all")],
        "none.b.test": [("A", "192.0.2.77")],
    }
    helo, mail_from = await checked(zone)
    assert (helo.identity, helo.domain, helo.outcome) == ("helo", "mail.a.test", Outcome.FAIL)
    assert mail_from.outcome is Outcome.PASS
    assert (mail_from.identity, mail_from.domain) == ("mailfrom", "a.test")


@pytest.mark.parametrize("helo", ["[192.0.2.1]", "localhost", "", "a b.test", "a..test", "\xa0.x"])
async def test_a_helo_that_is_no_domain_is_not_checked(helo: str) -> None:
    (result,) = await checked({}, sender="", helo=helo)
    assert result.outcome is Outcome.NONE
    assert result.reason


async def test_a_client_without_an_address_and_a_sender_without_a_domain_have_no_result() -> None:
    assert [each.outcome for each in await checked({}, client="unix:")] == [Outcome.NONE]
    assert [each.outcome for each in await checked({}, sender="root")] == [Outcome.NONE] * 2


async def test_domains_are_checked_in_their_ascii_form() -> None:
    zone: dict[str, list[Row]] = {
        "xn--bcher-kva.test": [("TXT", "v=spf1 exists:%{d}.ok.test -all")]
    }
    zone["xn--bcher-kva.test.ok.test"] = [("A", "127.0.0.2")]
    result = (await checked(zone, sender="user@BÜCHER.test"))[-1]
    assert (result.outcome, result.domain) == (Outcome.PASS, "xn--bcher-kva.test")


async def test_a_local_part_that_is_not_ascii_matches_nothing() -> None:
    zone: dict[str, list[Row]] = {
        "a.test": [("TXT", "v=spf1 exists:%{l}.a.test -exists:%{s}.a.test ip4:192.0.2.1 -all")]
    }
    assert (await checked(zone, sender="jörg@a.test"))[-1].outcome is Outcome.PASS


async def test_hosts_with_ipv4_alone_are_not_void_for_a_client_on_ipv6() -> None:
    v4: Sequence[Row] = [("A", "192.0.2.7")]
    record = "v=spf1 a:b.test a:c.test a:d.test ip6:2001:db8::1 -all"
    hosts = {"b.test": v4, "c.test": v4, "d.test": v4}
    assert await outcome(record, hosts, "2001:db8::1") is Outcome.PASS
    assert await outcome(record, client="2001:db8::1") is Outcome.PERMERROR


async def test_a_client_mapped_into_ipv6_is_one_of_ipv4() -> None:
    hosts: dict[str, Sequence[Row]] = {"b.test": [("A", "192.0.2.1")]}
    assert await outcome("v=spf1 ip4:192.0.2.1 -all", client="::ffff:192.0.2.1") is Outcome.PASS
    assert await outcome("v=spf1 a:b.test -all", hosts, "::ffff:c000:201") is Outcome.PASS


async def test_redirect_needs_a_record_and_counts_as_a_term() -> None:
    chain: dict[str, Sequence[Row]] = {
        f"r{n}.test": [("TXT", f"v=spf1 redirect=r{n + 1}.test")] for n in range(11)
    }
    chain["r11.test"] = [("TXT", "v=spf1 +all")]
    assert await outcome("v=spf1 redirect=r2.test", chain) is Outcome.PASS
    assert await outcome("v=spf1 redirect=r1.test", chain) is Outcome.PERMERROR
    assert await outcome("v=spf1 redirect=none.test") is Outcome.PERMERROR


async def test_an_explanation_is_bounded_and_printable() -> None:
    zone: dict[str, list[Row]] = {
        "a.test": [("TXT", "v=spf1 -all exp=e.test")],
        "e.test": [("TXT", "%{h} " + "%{s}" * 400)],
    }
    result = (await checked(zone, sender="user@a.test", helo="x\r\nEvil: 1"))[-1]
    assert len(result.explanation) == EXPLANATION_LIMIT
    assert result.explanation.startswith("x??Evil: 1 user@a.test")
    assert result.explanation.isprintable()


async def test_reasons_are_bounded_and_printable() -> None:
    long = ".".join(["a" * 60] * 6)
    for record in (f"v=spf1 -a:{long} -all", f"v=spf1 {long}\x07", "v=spf1 include:%{h}.b"):
        result = (await checked({"a.test": [("TXT", record)]}, helo="\x1b[1m\xa0"))[-1]
        assert 0 < len(result.reason) <= REASON_LIMIT
        assert result.reason.isprintable()
        assert result.reason.isascii()


def test_names_too_long_lose_labels_at_their_left() -> None:
    assert shortened("a.b.") == "a.b"
    name = ".".join(["x" * 62] * 4)  # 251 characters
    assert shortened(f"ab.{name}") == name
    assert shortened(f"a.{name}") == f"a.{name}"
    assert len(shortened("y" * 300)) == 253


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("%{s}", "strong-bad@email.example.com"),
        ("%{d4}", "email.example.com"),
        ("%{d2}", "example.com"),
        ("%{dr}", "com.example.email"),
        ("%{d2r}", "example.email"),
        ("%{l-}", "strong.bad"),
        ("%{lr-}", "bad.strong"),
        ("%{l1r-}", "strong"),
        ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
        ("%{d00000002}", "example.com"),
        ("%{d" + "9" * 5000 + "}", "email.example.com"),
        ("%{S}%%%_%-", "strong-bad%40email.example.com% %20"),
    ],
)
def test_macros_expand_as_rfc_7208_7_4_has_it(text: str, expanded: str) -> None:
    values = {
        "s": "strong-bad@email.example.com",
        "l": "strong-bad",
        "d": "email.example.com",
        "i": "192.0.2.3",
        "v": "in-addr",
    }
    assert expand(parse_macros(text), values) == expanded


@pytest.mark.parametrize(
    "text", ["%{d0}", "%{x}", "%{d", "%", "%d", "%{c}", "%{d:}", "a b", "\x00"]
)
def test_macros_that_are_not_valid(text: str) -> None:
    with pytest.raises(SpfError):
        parse_macros(text)


TERMS = st.one_of(
    st.sampled_from(
        [
            "a",
            "mx",
            "ptr",
            "a:%{h}",
            "include:a.test",
            "redirect=a.test",
            "exists:%{ir}.%{l1r-}.x.y",
        ]
    ),
    st.sampled_from(["mx/0//0", "-include:b.test", "~all", "exp=%{p}.b.test", "ip4:192.0.2.0/24"]),
    st.text(max_size=30),
)
RECORDS = st.lists(TERMS, max_size=14).map(lambda terms: " ".join(["v=spf1", *terms]))


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200))
def test_any_text_parses_or_is_an_spf_error(text: str) -> None:
    for wanted in (text, f"v=spf1 {text}"):
        try:
            parse_spf(wanted)
        except SpfError as error:
            assert str(error).isprintable()
    try:
        string = parse_macros(text, in_explanation=True)
    except SpfError:
        return
    expand(string, dict.fromkeys("slodipvhcrt", "a-b.c@d"))


@settings(max_examples=100, deadline=None)
@given(a=RECORDS, b=RECORDS, helo=st.text(max_size=20), local=st.text(max_size=20))
async def test_any_records_cost_a_bounded_number_of_questions(
    a: str, b: str, helo: str, local: str
) -> None:
    hosts: list[Row] = [("MX", n, f"m{n}.b.test") for n in range(10)]
    lookup = ZoneLookup(
        {
            "a.test": [("TXT", a), *hosts],
            "b.test": [("TXT", b), *hosts, ("A", "198.51.100.1")],
            "1.2.0.192.in-addr.arpa": [("PTR", f"p{n}.b.test") for n in range(20)],
        }
    )
    results = await check_spf(
        lookup, client="192.0.2.1", helo=helo, reverse_path=f"{local}@a.test", hostname=HOST
    )
    # at most 10 terms with 11 questions each, 11 records, and 11 for the names of the client
    assert len(lookup.asked) <= 2 * (10 * 11 + 11 + 1) + 11
    assert [each.identity for each in results] == ["helo", "mailfrom"]
    for result in results:
        assert f"{result.reason}{result.explanation}{result.domain}".isprintable()


async def test_a_client_without_a_name_is_void_for_ptr() -> None:
    assert await outcome("v=spf1 ptr ptr ptr ip4:192.0.2.1 -all") is Outcome.PERMERROR
    named: dict[str, Sequence[Row]] = {"1.2.0.192.in-addr.arpa": [("PTR", "p.test")]}
    assert await outcome("v=spf1 ptr ptr ptr ip4:192.0.2.1 -all", named) is Outcome.PASS


async def test_a_name_that_is_no_host_s_is_not_the_client_s() -> None:
    zone: dict[str, Sequence[Row]] = {
        "1.2.0.192.in-addr.arpa": [("PTR", "x y.a.test")],
        "x y.a.test": [("A", "192.0.2.1")],
    }
    assert await outcome("v=spf1 ptr -all", zone) is Outcome.FAIL


@pytest.mark.parametrize(
    ("record", "is_of_local_part"),
    [
        ("v=spf1 exists:%{l}._u.a.test -all", True),
        ("v=spf1 exists:%{S}.x.test -all", True),
        ("v=spf1 exists:%{ir}.%{o}.x.test -all", False),
        ("v=spf1 ip4:192.0.2.1 exists:%{l}._u.a.test", False),
        ("v=spf1 -all exp=%{l}.a.test", False),
    ],
)
async def test_a_result_that_is_not_of_the_domain_says_so(
    record: str, *, is_of_local_part: bool
) -> None:
    zone = ZoneLookup({"a.test": [("TXT", record)], "ann._u.a.test": [("A", "127.0.0.2")]})
    _, found = await check_spf(
        zone, client="192.0.2.1", helo="h.test", reverse_path="ann@a.test", hostname="mx.test"
    )
    assert found.is_of_local_part == is_of_local_part


async def test_what_is_kept_of_a_client_is_of_its_domain_and_not_of_one_user() -> None:
    zone = ZoneLookup(
        {
            "a.test": [("TXT", "v=spf1 exists:%{l}._u.a.test -all")],
            "ann._u.a.test": [("A", "127.0.0.2")],
            "b.test": [("TXT", "v=spf1 ip4:192.0.2.1 -all")],
        }
    )
    lists = Blocklists(zone, [], deadline_seconds=60)
    senders = SenderChecks(zone, lists, None, hostname="mx.test", seconds=60, keep_seconds=60)

    async def outcome(path: str) -> Outcome:
        facts = await senders.facts(SenderQuestion("192.0.2.1", "h.test", path))
        return facts.spf[1].outcome

    at_once = await asyncio.gather(*(outcome(f"{user}@a.test") for user in ("ann", "eve")))
    assert at_once == [Outcome.PASS, Outcome.FAIL]
    assert await outcome("eve@a.test") is Outcome.FAIL
    assert await outcome("ann@a.test") is Outcome.PASS
    assert await outcome("ann@b.test") is Outcome.PASS
    asked = len(zone.asked)
    assert await outcome("eve@b.test") is Outcome.PASS
    assert len(zone.asked) == asked
