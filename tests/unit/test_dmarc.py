"""DMARC by RFC 9989: records, the walk up the tree, alignment, and what follows from a failure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthorn.wire.auth.author_domains import MOST_DOMAINS
from posthorn.wire.auth.dmarc import author_domains_of, check_dmarc
from posthorn.wire.auth.dmarc_record import MOST_REPORT_ADDRESSES, DmarcRecord, parse_dmarc
from posthorn.wire.auth.results import Dkim, Dmarc, Outcome, Policy, Spf
from posthorn.wire.auth.spf import check_spf
from tests.support.zone_lookup import Row, ZoneLookup

PASS, FAIL, NONE, TEMPERROR = Outcome.PASS, Outcome.FAIL, Outcome.NONE, Outcome.TEMPERROR
LOST: Sequence[Row] = [("TIMEOUT",)]
DEEP = "a.b.c.d.e.f.g.h.i.j.k.example.com"

type Zone = Mapping[str, str | Sequence[str] | Sequence[Row]]
"""By domain: its DMARC records; by a name that begins with a dot: the rows of the rest of it."""


def lookup_of(zone: Zone) -> ZoneLookup:
    rows: dict[str, Sequence[Row]] = {}
    for name, value in zone.items():
        if name.startswith("."):
            rows[name[1:]] = value
        else:
            texts = [value] if isinstance(value, str) else value
            rows[f"_dmarc.{name}"] = [
                ("TXT", f"v=DMARC1; {text}") if isinstance(text, str) else text for text in texts
            ]
    return ZoneLookup(rows)


def spf_of(*domains: str, outcome: Outcome = PASS) -> tuple[Spf, ...]:
    helo = Spf(NONE, "helo", "mail.test")
    return (helo, *(Spf(outcome, "mailfrom", domain) for domain in domains))


def dkim_of(*domains: str, outcome: Outcome = PASS) -> tuple[Dkim, ...]:
    return tuple(Dkim(outcome, domain, "s1") for domain in domains)


async def checked(
    zone: Zone | ZoneLookup,
    author: str = "example.com",
    spf: Sequence[str] = (),
    dkim: Sequence[str] = (),
) -> Dmarc:
    lookup = zone if isinstance(zone, ZoneLookup) else lookup_of(zone)
    return await check_dmarc(lookup, [author], spf_of(*spf), dkim_of(*dkim))


def case(name: str, zone: Zone, author: str, spf: str, dkim: str, **expected: Any) -> Any:
    return pytest.param(zone, author, spf.split(), dkim.split(), expected, id=name)


REJECT: Zone = {"example.com": "p=reject"}
SIGNED: Zone = {"example.com": "p=reject", "signing.example.com": "p=reject"}
BANK: Zone = {
    "bank.example": "p=reject; psd=y; rua=mailto:psd@bank.example",
    "giant.bank.example": "p=quarantine",
}
NP = "p=reject; sp=none; np=quarantine"
R, Q, N = Policy.REJECT, Policy.QUARANTINE, Policy.NONE


@pytest.mark.parametrize(
    ("zone", "author", "spf", "dkim", "expected"),
    [
        case(
            "strict-and-equal",
            {"example.com": "p=reject; adkim=s"},
            *("example.com", "", "example.com"),
            outcome=PASS,
            published=R,
            applied=N,
        ),
        case("relaxed", REJECT, "mail.example.com", "", "example.com", outcome=PASS),
        case("relaxed-spf", REJECT, "example.com", "b.example.com", "", outcome=PASS),
        case("no-record", {}, "example.com", "", "example.com", outcome=NONE, published=None),
        case(
            "several-records-count-as-none",
            {"example.com": ["p=reject", "p=none"]},
            *("example.com", "", "example.com"),
            outcome=NONE,
        ),
        case(
            "several-records-do-not-end-the-walk",
            {
                "mail.example.com": ["p=reject", "p=quarantine"],
                "example.com": "p=none; sp=quarantine",
            },
            *("mail.example.com", "", ""),
            outcome=FAIL,
            record_domain="example.com",
            published=Q,
        ),
        case(
            "other-texts-do-not-count",
            {
                "mail.example.com": [("TXT", "other"), ("TXT", "v=spf1 -all")],
                "example.com": "p=quarantine",
            },
            *("mail.example.com", "", ""),
            outcome=FAIL,
            published=Q,
        ),
        case(
            "pct-is-unknown",
            {"example.com": "p=reject; pct=0; rf=afrf; ri=86400"},
            *("example.com", "other.example", "other.example"),
            outcome=FAIL,
            applied=R,
        ),
        case(
            "B.4.1-simple",
            SIGNED,
            *("example.com", "example.com", "signing.example.com"),
            outcome=PASS,
            organizational_domain="example.com",
            spf_aligned=True,
            dkim_aligned=True,
        ),
        case(
            "B.4.2-deep",
            SIGNED,
            *(DEEP, "example.com", "signing.example.com"),
            outcome=PASS,
            organizational_domain="example.com",
            record_domain="example.com",
            spf_aligned=True,
            dkim_aligned=True,
        ),
        case(
            "B.4.3-public-suffix",
            BANK,
            *("giant.bank.example", "mail.giant.bank.example", "mail.mega.bank.example"),
            outcome=PASS,
            organizational_domain="giant.bank.example",
            spf_aligned=True,
            dkim_aligned=False,
        ),
        case(
            "psd-n-is-the-organization",
            {"b.example.com": "p=reject; psd=n", "example.com": "p=none"},
            *("a.b.example.com", "", ""),
            organizational_domain="b.example.com",
            published=R,
        ),
        case(
            "psd-n-at-the-author-parts-it-from-its-parent",
            {"mail.example.com": "p=reject; psd=n", "example.com": "p=reject"},
            *("mail.example.com", "", "example.com"),
            outcome=FAIL,
            organizational_domain="mail.example.com",
        ),
        case(
            "nothing-above-the-author",
            {"mail.example.com": "p=reject"},
            *("mail.example.com", "bounce.example.com", "example.com"),
            outcome=FAIL,
            organizational_domain="mail.example.com",
        ),
        case(
            "fewest-labels",
            {"b.example.com": "p=none", "example.com": "p=reject"},
            *("a.b.example.com", "", ""),
            organizational_domain="example.com",
            record_domain="example.com",
            published=R,
        ),
        case(
            "no-list-of-suffixes",
            {"blogspot.com": "p=reject"},
            *("alice.blogspot.com", "", "bob.blogspot.com"),
            outcome=PASS,
            organizational_domain="blogspot.com",
        ),
        case(
            "several-records-above-the-author",
            {"b.example.com": ["p=reject; psd=n", "p=none"], "example.com": "p=quarantine"},
            *("a.b.example.com", "", ""),
            organizational_domain="example.com",
            published=Q,
        ),
        case(
            "own-record-before-the-suffix",
            {"example": "p=reject; psd=y", "foo.example": "p=none"},
            *("foo.example", "", ""),
            organizational_domain="foo.example",
            published=N,
        ),
        case(
            "suffix-record-with-sp",
            {"bank.example": "p=reject; sp=quarantine; psd=y"},
            *("mail.giant.bank.example", "", "giant.bank.example"),
            outcome=PASS,
            organizational_domain="giant.bank.example",
            record_domain="bank.example",
            published=Q,
        ),
        case(
            "two-registrants-of-a-suffix",
            {"bank.example": "p=reject; psd=y"},
            *("giant.bank.example", "bank.example", "mega.bank.example"),
            outcome=FAIL,
            organizational_domain="giant.bank.example",
            published=R,
        ),
        case(
            "suffix-as-author",
            {"bank.example": "p=reject; sp=none; psd=y"},
            *("bank.example", "mail.bank.example", ""),
            outcome=FAIL,
            organizational_domain="bank.example",
            published=R,
        ),
        case(
            "np-where-the-author-does-not-exist",
            {"example.com": NP},
            *("sub.example.com", "", ""),
            published=Q,
            applied=Q,
        ),
        case(
            "sp-where-the-author-exists",
            {"example.com": NP, ".sub.example.com": [("A", "192.0.2.10")]},
            *("sub.example.com", "", ""),
            published=N,
        ),
        case(
            "a-name-without-addresses-exists",
            {"example.com": NP, ".mail.example.com": [("MX", 1, "mx.example.com")]},
            *("mail.example.com", "", ""),
            published=N,
        ),
        case(
            "np-falls-back-to-p",
            {"example.com": "p=quarantine; np=reject", ".sub.example.com": [("A", "192.0.2.1")]},
            *("sub.example.com", "", ""),
            published=Q,
        ),
        case(
            "np-of-a-suffix",
            {"gov.example": "p=reject; sp=none; np=reject; psd=y"},
            *("fake-agency.gov.example", "", ""),
            record_domain="gov.example",
            published=R,
        ),
        case(
            "t-steps-reject-down",
            {"example.com": "p=reject; t=y"},
            *("example.com", "", ""),
            published=R,
            applied=Q,
            is_testing=True,
        ),
        case(
            "t-steps-quarantine-down",
            {"example.com": "p=quarantine; t=Y"},
            *("example.com", "", ""),
            published=Q,
            applied=N,
        ),
        case(
            "t-steps-sp-down",
            {"example.com": "p=reject; sp=quarantine; t=y"},
            *("sub.example.com", "", ""),
            published=Q,
            applied=N,
        ),
        case(
            "t-of-another-value",
            {"example.com": "p=reject; t=yes"},
            *("example.com", "", ""),
            applied=R,
            is_testing=False,
        ),
        case(
            "rua-without-p",
            {"example.com": "rua=mailto:d@example.com"},
            *("example.com", "", ""),
            outcome=FAIL,
            published=N,
        ),
        case(
            "neither-p-nor-rua",
            {"example.com": "adkim=s"},
            *("example.com", "", ""),
            outcome=NONE,
            published=None,
            record_domain="",
        ),
        case(
            "a-record-that-asks-for-nothing-ends-the-search",
            {"mail.example.com": "adkim=s", "example.com": "p=reject"},
            *("mail.example.com", "", ""),
            outcome=NONE,
        ),
        case(
            "invalid-p-keeps-the-other-tags",
            {"example.com": "p=block; adkim=s; rua=mailto:d@example.com!10m"},
            *("example.com", "", "mail.example.com"),
            outcome=FAIL,
            published=N,
            report_to=("d@example.com",),
        ),
        case(
            "invalid-sp",
            {"example.com": "p=reject; sp=bounce; rua=mailto:d@example.com"},
            *("sub.example.com", "", ""),
            published=N,
        ),
        case(
            "invalid-np-and-no-rua",
            {"example.com": "p=reject; np=; rua=mailto:"},
            *("example.com", "", ""),
            outcome=NONE,
        ),
        case(
            "strict-is-strict",
            {"example.com": "p=reject; adkim=S; aspf = s"},
            *("example.com", "b.example.com", "mail.example.com"),
            outcome=FAIL,
        ),
        case("case-of-the-policy", {"example.com": "p = Reject"}, "example.com", "", "", applied=R),
        case("single-label", {"test": "p=reject"}, "test", "", "test", outcome=PASS),
    ],
)
async def test_the_cases_of_rfc_9989(
    zone: Zone, author: str, spf: list[str], dkim: list[str], expected: dict[str, Any]
) -> None:
    result = await checked(zone, author, spf, dkim)
    assert {name: getattr(result, name) for name in expected} == expected
    assert result.domain == author


@pytest.mark.parametrize(
    "text",
    ["v=dmarc1; p=reject", "v=DMARC1x; p=reject", " v=DMARC1; p=reject", "p=reject; v=DMARC1"],
)
async def test_the_version_comes_first_and_is_case_sensitive(text: str) -> None:
    assert parse_dmarc(text.encode()) is None
    zone: Zone = {"example.com": [("TXT", text)]}
    assert (await checked(zone)).outcome is NONE


async def test_spaces_may_stand_around_the_version() -> None:
    for text in ("v = DMARC1 ; p=reject", "v=DMARC1;p=reject;"):
        assert (await checked({"example.com": [("TXT", text)]})).applied is R


# The walk


async def test_a_walk_asks_eight_names_at_most_and_jumps() -> None:
    lookup = lookup_of({"example.com": "p=none"})
    await checked(lookup, DEEP)
    asked = [name for name, kind in lookup.asked if kind == "TXT"]
    assert asked == [
        f"_dmarc.{name}"
        for name in (
            *(DEEP, "g.h.i.j.k.example.com", "h.i.j.k.example.com", "i.j.k.example.com"),
            *("j.k.example.com", "k.example.com", "example.com", "com"),
        )
    ]


@pytest.mark.parametrize(
    ("author", "second"),
    [
        ("a.b.c.d.e.f.example.com", "b.c.d.e.f.example.com"),
        ("x.a.b.c.d.e.f.example.com", "b.c.d.e.f.example.com"),
        ("b.c.d.e.f.example.com", "c.d.e.f.example.com"),
    ],
)
async def test_the_second_name_of_a_walk_has_seven_labels_at_most(author: str, second: str) -> None:
    lookup = lookup_of({})
    await checked(lookup, author)
    assert lookup.asked[1] == (f"_dmarc.{second}", "TXT")


async def test_one_label_below_a_suffix_is_taken_from_the_author_s_name() -> None:
    suffix = "e.f.g.h.i.j.example"
    zone: Zone = {suffix: "p=reject; psd=y", f"d.{suffix}": "p=quarantine"}
    result = await checked(zone, f"a.b.c.d.{suffix}", dkim=[f"mail.d.{suffix}"])
    assert result.organizational_domain == f"d.{suffix}"
    assert (result.outcome, result.record_domain) == (PASS, f"d.{suffix}")
    other = await checked(zone, f"a.b.c.d.{suffix}", dkim=[f"other.{suffix}"])
    assert (other.outcome, other.applied) == (FAIL, Q)


async def test_answers_are_asked_for_once() -> None:
    lookup = lookup_of(SIGNED)
    await checked(lookup, DEEP, ["example.com"], ["signing.example.com", "signing.example.com"])
    texts = [name for name, _ in lookup.asked]
    assert texts[8:] == ["_dmarc.signing.example.com"]


async def test_a_domain_that_cannot_be_aligned_costs_no_walk() -> None:
    lookup = lookup_of(REJECT)
    result = await checked(
        lookup, spf=["b.esp.example.net"], dkim=["esp.example.net", "badexample.com"]
    )
    assert result.outcome is FAIL
    assert [name for name, _ in lookup.asked] == ["_dmarc.example.com", "_dmarc.com"]


async def test_signing_domains_that_are_walked_from_are_bounded() -> None:
    lookup = lookup_of(
        {"example.com": "p=reject", **{f"s{n}.example.com": "psd=n; p=none" for n in range(40)}}
    )
    result = await checked(lookup, dkim=[f"s{n}.example.com" for n in range(40)])
    assert result.outcome is FAIL
    assert len(lookup.asked) == 2 + 10


async def test_a_name_with_texts_of_dmarc_exists() -> None:
    lookup = lookup_of({"example.com": NP, "sub.example.com": [("TXT", "other")]})
    assert (await checked(lookup, "sub.example.com")).published is N
    assert all(kind == "TXT" for _, kind in lookup.asked)


# Lookups that fail


@pytest.mark.parametrize(
    ("zone", "author", "spf", "dkim", "expected"),
    [
        case(
            "the-record",
            {"example.com": LOST},
            *("mail.example.com", "", "example.com"),
            outcome=TEMPERROR,
            published=None,
            domain="mail.example.com",
        ),
        case(
            "above-the-record-but-an-equal-domain-passes",
            {"example.com": "p=reject", "com": LOST},
            *("example.com", "", "example.com"),
            outcome=PASS,
            published=R,
            organizational_domain="example.com",
        ),
        case(
            "above-the-record",
            {"example.com": "p=reject", "com": LOST},
            *("example.com", "", "mail.example.com"),
            outcome=TEMPERROR,
            published=R,
            applied=N,
        ),
        case(
            "above-the-record-and-nothing-could-be-aligned",
            {"example.com": "p=reject", "com": LOST},
            *("example.com", "", "other.test"),
            outcome=FAIL,
            applied=R,
        ),
        case(
            "above-a-signing-domain",
            {"example.com": "p=reject", "mail.example.com": LOST},
            *("example.com", "", "mail.example.com"),
            outcome=TEMPERROR,
            published=R,
        ),
        case(
            "above-a-signing-domain-but-another-passes",
            {"example.com": "p=reject", "mail.example.com": LOST},
            *("example.com", "bounces.example.com", "mail.example.com"),
            outcome=PASS,
            spf_aligned=True,
            dkim_aligned=False,
        ),
        case(
            "strict-alignment-needs-none",
            {"example.com": "p=reject; adkim=s", "mail.example.com": LOST},
            *("example.com", "", "mail.example.com"),
            outcome=FAIL,
        ),
        case(
            "existence-of-the-author",
            {"example.com": NP, ".sub.example.com": LOST},
            *("sub.example.com", "", ""),
            outcome=TEMPERROR,
            applied=N,
        ),
        case(
            "existence-of-an-author-that-passes",
            {"example.com": NP, ".sub.example.com": LOST},
            *("sub.example.com", "", "example.com"),
            outcome=PASS,
        ),
    ],
)
async def test_a_needed_lookup_that_fails_applies_nothing(
    zone: Zone, author: str, spf: list[str], dkim: list[str], expected: dict[str, Any]
) -> None:
    result = await checked(zone, author, spf, dkim)
    assert {name: getattr(result, name) for name in expected} == expected


async def test_trap_6_a_failed_lookup_of_spf_or_dkim_is_no_failure_of_dmarc() -> None:
    for spf, dkim in (
        (spf_of("example.com", outcome=TEMPERROR), ()),
        ((), dkim_of("mail.example.com", outcome=TEMPERROR)),
        (spf_of("other.test", outcome=FAIL), dkim_of("example.com", outcome=TEMPERROR)),
    ):
        result = await check_dmarc(lookup_of(REJECT), ["example.com"], spf, dkim)
        assert (result.outcome, result.published, result.applied) == (TEMPERROR, R, N)
    elsewhere = dkim_of("other.test", outcome=TEMPERROR)
    assert (await check_dmarc(lookup_of(REJECT), ["example.com"], (), elsewhere)).outcome is FAIL
    both = dkim_of("example.com", outcome=TEMPERROR) + dkim_of("example.com")
    assert (await check_dmarc(lookup_of(REJECT), ["example.com"], (), both)).outcome is PASS


# Identifiers


async def test_helo_is_no_identifier_beside_mail_from() -> None:
    spf = (Spf(PASS, "helo", "example.com"), Spf(FAIL, "mailfrom", "other.test"))
    assert (await check_dmarc(lookup_of(REJECT), ["example.com"], spf, ())).outcome is FAIL


async def test_trap_11_helo_is_the_identifier_of_the_null_reverse_path() -> None:
    zone = lookup_of({**REJECT, ".mail.example.com": [("TXT", "v=spf1 ip4:192.0.2.1 -all")]})
    spf = await check_spf(
        zone, client="192.0.2.1", helo="mail.example.com", reverse_path="", hostname="here.test"
    )
    result = await check_dmarc(zone, ["example.com"], spf, ())
    assert (result.outcome, result.spf_aligned) == (PASS, True)


async def test_only_what_passed_counts() -> None:
    for outcome in (FAIL, Outcome.SOFTFAIL, Outcome.NEUTRAL, Outcome.POLICY, Outcome.PERMERROR):
        result = await check_dmarc(
            lookup_of(REJECT), ["example.com"], (), dkim_of("example.com", outcome=outcome)
        )
        assert (result.outcome, result.dkim_aligned) == (FAIL, False)


async def test_without_a_record_an_equal_domain_is_told() -> None:
    result = await checked({}, spf=["other.test"], dkim=["Example.COM."])
    assert (result.outcome, result.spf_aligned, result.dkim_aligned) == (NONE, False, True)
    assert result.reason


@pytest.mark.parametrize(
    ("domains", "reason"),
    [
        ([], "From has no domain"),
        (["a.test", "b.test"], "From has several domains"),
        (["a.test", "a.test"], "there are several From fields"),
        (["", "a.test"], "there are several From fields"),
        (["[192.0.2.1]"], "the author's domain is an address literal"),
    ],
)
async def test_dmarc_needs_one_author_domain(domains: list[str], reason: str) -> None:
    lookup = lookup_of(REJECT)
    assert await check_dmarc(lookup, domains, (), ()) == Dmarc(reason=reason)
    assert "b.test" in domains or len(lookup.asked) == 2 * ("a.test" in domains)


@pytest.mark.parametrize("domains", [["example.com", "example.com"], ["", "example.com"]])
async def test_a_second_from_field_is_no_way_round_a_policy(domains: list[str]) -> None:
    result = await check_dmarc(lookup_of(REJECT), domains, (), ())
    assert (result.outcome, result.applied) == (FAIL, R)
    passed = await check_dmarc(lookup_of(REJECT), domains, (), dkim_of("example.com"))
    assert passed == Dmarc(reason="there are several From fields"), "and never passes"


# Records


def parsed(text: str) -> DmarcRecord:
    record = parse_dmarc(f"v=DMARC1; {text}".encode())
    assert record is not None
    return record


@pytest.mark.parametrize(
    ("value", "addresses"),
    [
        ("mailto:D-Reports@Example.COM", ("D-Reports@example.com",)),
        ("mailto:a@b.test!10m , MAILTO:c@d.test!5", ("a@b.test", "c@d.test")),
        ("mailto:a@b.test,mailto:a@b.test", ("a@b.test",)),
        ("https://b.test/in,mailto:a%2Bd@b.test?subject=x", ("a+d@b.test",)),
        ("a@b.test", ()),
        ("mailto:a@b.test evil", ()),
        ("mailto:", ()),
        ("mailto:a%0d%0aBcc:x@b.test", ()),
        (
            ",".join(f"mailto:a{n}@b.test" for n in range(30)),
            tuple(f"a{n}@b.test" for n in range(MOST_REPORT_ADDRESSES)),
        ),
    ],
)
def test_addresses_for_reports(value: str, addresses: tuple[str, ...]) -> None:
    assert parsed(f"p=none; rua={value}").report_to == addresses


def test_tags_are_read_leniently() -> None:
    record = parsed("X=1;P=reject;p=none; np=QUARANTINE;;aspf=x;junk;psd=Y;fo=1:d:S;\xff=2;t=")
    assert record.policy is R
    assert record.nonexistent_policy is Q
    assert (record.psd, record.strict_spf, record.is_testing) == ("y", False, False)
    assert record.failure_options == {"1", "d", "s"}
    for options in ("0:1", "x", ""):
        assert parsed(f"p=none; fo={options}").failure_options == {"0"}


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_record_parses(text: bytes) -> None:
    record = parse_dmarc(b"v=DMARC1;" + text)
    assert record is not None
    assert record.text.isascii()
    assert record.text.isprintable()
    assert "".join(record.report_to).isprintable()
    parse_dmarc(text)


NAMES = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=14).map(".".join)
TAGS = st.sampled_from(
    ["p=reject", "p=none; psd=y", "p=quarantine; psd=n", "np=reject; p=none", "t=y", "rua=x:y"]
)


@settings(max_examples=150, deadline=None)
@given(
    zone=st.dictionaries(NAMES, st.one_of(TAGS, st.just(LOST)), max_size=8),
    author=NAMES,
    domains=st.lists(NAMES, max_size=6),
)
async def test_any_tree_costs_a_bounded_number_of_questions(
    zone: dict[str, str | Sequence[Row]], author: str, domains: list[str]
) -> None:
    lookup = lookup_of(zone)
    result = await checked(lookup, author, domains[:1], domains[1:])
    assert len(lookup.asked) <= 8 * (1 + len(set(domains))) + 2
    assert len(lookup.asked) == len(set(lookup.asked))
    assert author.endswith(result.organizational_domain)
    if result.outcome is not FAIL:
        assert result.applied in (None, N)


# The author's domains


@pytest.mark.parametrize(
    ("field", "domains"),
    [
        ("user@Example.COM", ["example.com"]),
        ("A B <user@a.test>", ["a.test"]),
        ('"x@evil.test" <user@a.test>', ["a.test"]),
        ("x@evil.test <user@a.test>", ["a.test"]),
        ('"a <x@evil.test>, b" <user@a.test>', ["a.test"]),
        ("(<x@evil.test>) user@a.test (c (d) \\))", ["a.test"]),
        ("user@a.(comment)test", ["a.test"]),
        ("user @ a . test", ["a.test"]),
        ('"us\\"er@x.test"@a.test', ["a.test"]),
        ("Group: user@a.test, B <b@b.test>; ", ["a.test", "b.test"]),
        ("undisclosed-recipients:;", []),
        ("<@r1.test,@r2.test:user@a.test>", ["a.test"]),
        ("one@a.test, Two <two@A.test>", ["a.test"]),
        ("one@a.test, two@b.test", ["a.test", "b.test"]),
        ("one@a.test two@b.test", ["a.test", "b.test"]),
        ("<one@a.test> <two@b.test>", ["a.test", "b.test"]),
        ("one@a.test, no address", ["a.test"]),
        ("X <user@a.test", ["a.test"]),
        ('"X <user@a.test>', ["a.test"]),
        ("(X <user@a.test>", ["a.test"]),
        ("a@b@a.test", ["a.test"]),
        ("Jörg <user@bücher.test>", ["xn--bcher-kva.test"]),
        ("user@XN--BCHER-KVA.test", ["xn--bcher-kva.test"]),
        ("=?utf-8?q?x=40evil.test?= <user@a.test>", ["a.test"]),
        ("=?utf-8?q?Bank_=3Cuser=40a.test=3E?=", ["a.test"]),
        ("=?utf-8?b?PHVzZXJAYS50ZXN0Pg==?=", ["a.test"]),
        ("user@[192.0.2.1]", ["[192.0.2.1]"]),
        ("user@under_score.test", ["under_score.test"]),
        ("user@a.test\t<>", ["a.test"]),
        ("user\uff20a\u3002test", ["a.test"]),
        ("MAILER-DAEMON", []),
        ("<>", []),
        ("", []),
        ("user@a..test", []),
    ],
)
def test_the_domains_of_from(field: str, domains: list[str]) -> None:
    header = f"Subject: From: x@no.test\r\nFROM :{field}\r\nTo: x@no.test\r\n".encode()
    assert author_domains_of(header) == domains


def test_from_is_found_wherever_it_stands_and_however_it_is_folded() -> None:
    assert author_domains_of(b"From: A\r\n\t<user@\r\n a.test>") == ["a.test"]
    assert author_domains_of(b"To: x@no.test\n\tFrom: y@no.test\nfrom:u@a.test\n") == ["a.test"]
    assert author_domains_of(b"X-From: u@a.test\r\nFrom-X: u@a.test\r\n") == []


def test_two_from_fields_are_two_entries() -> None:
    assert author_domains_of(b"From: u@a.test\r\nFrom: v@a.test\r\n") == ["a.test", "a.test"]
    assert author_domains_of(b"From: u\r\nFrom: v@a.test\r\n") == ["", "a.test"]


@pytest.mark.parametrize(
    "piece", ["(", '"', '\\"', "<", "@", " ", ":", "[", "a@b.c,", "=?utf-8?q?", "(\\", "<@:", " ."]
)
def test_a_long_field_takes_linear_time(piece: str) -> None:
    """With quadratic work a MiB of one piece takes minutes."""
    text = (piece * 1024 * 1024)[: 1024 * 1024]
    header = f"From: {text}\r\nFrom: ({text}\r\n".encode() + b"From: \r\n" * 10_000
    assert len(author_domains_of(header)) <= MOST_DOMAINS


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from('<>@,;:()"\\[]. ab\r\n='), max_size=60).map("".join), st.binary())
def test_any_from_field_parses(text: str, octets: bytes) -> None:
    for domain in author_domains_of(f"From: {text}".encode() + octets):
        assert domain.isascii()
        assert domain.isprintable()
        assert not set(domain) & set(' ;()"<>,@')
