"""MTA-STS: the TXT record and the policy, read strictly (RFC 8461 §3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn.wire.mta_sts import (
    MAX_AGE_SECONDS,
    MAX_POLICY_OCTETS,
    Mode,
    Policy,
    PolicyError,
    parse_policy,
    policy_id,
)

POLICY = b"version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
        (["v=STSv1;id=1"], "1"),
        (["v=STSv1 ; id = 1 ; more=x:y ;"], "1"),
        (["v=spf1 -all", "v=STSv1; id=1;"], "1"),
        (["v=STSv1; id=1; id=2"], "1"),
        ([], None),
        (["v=STSv1"], None),
        (["v=STSv1;"], None),
        (["v=STSv2; id=1;"], None),
        (["v=STSv10; id=1;"], None),
        (["id=1; v=STSv1;"], None),
        (["v=STSv1; id=1;", "v=STSv1; id=2;"], None),
        (["v=STSv1; id=with-dash;"], None),
        (["v=STSv1; id=" + "1" * 33], None),
        (["v=STSv1; id=;"], None),
        (["v=STSv1; id=1; ; x=1"], None),
        (["V=STSv1; id=1;"], None),
    ],
)
def test_the_record_gives_an_id_or_nothing(texts: list[str], expected: str | None) -> None:
    assert policy_id(texts) == expected


def test_a_policy_is_read() -> None:
    assert parse_policy(POLICY) == Policy(
        Mode.ENFORCE, ("mail.example.com", "*.example.net"), 604800
    )


@pytest.mark.parametrize(
    "octets",
    [
        POLICY.replace(b"\r\n", b"\n"),
        POLICY.removesuffix(b"\r\n"),
        POLICY + b"\r\n\r\n",
        POLICY + b"later_field: anything at all\n",
        POLICY.replace(b"mode: ", b"mode:\t"),
        POLICY.replace(b"enforce", b"enforce  "),
        POLICY + b"mode: none\nmax_age: 1\n",
        POLICY.replace(b"mail.example", b"MAIL.Example"),
    ],
    ids=[
        "LF",
        "no last line end",
        "blank end",
        "unknown field",
        "tab",
        "trailing spaces",
        "first counts",
        "case",
    ],
)
def test_what_the_grammar_allows_changes_nothing(octets: bytes) -> None:
    assert parse_policy(octets) == parse_policy(POLICY)


@pytest.mark.parametrize("age", [b"31557601", b"63072000", b"9999999999", b"99999999999999999999"])
def test_a_max_age_above_a_year_counts_as_a_year(age: bytes) -> None:
    """Trial 43: the policy was dropped whole, and the mail went unprotected."""
    policy = parse_policy(POLICY.replace(b"604800", age))
    assert policy == Policy(Mode.ENFORCE, ("mail.example.com", "*.example.net"), MAX_AGE_SECONDS)


@pytest.mark.parametrize(
    "octets",
    [
        POLICY.replace(b"\r\nmode", b"\r\n\r\nmode"),
        b"\n" + POLICY,
        POLICY.replace(b"\r\n", b"\n\n"),
        POLICY.replace(b"\r\nmx: *", b"\r\n \t\r\nmx: *"),
    ],
    ids=["after the version", "before all", "each one", "white space"],
)
def test_empty_lines_are_passed_over(octets: bytes) -> None:
    """Trial 43."""
    assert parse_policy(octets) == parse_policy(POLICY)


def test_mode_none_needs_no_host() -> None:
    assert parse_policy(b"version: STSv1\nmode: none\nmax_age: 0\n") == Policy(Mode.NONE, (), 0)


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        POLICY.replace(b"STSv1", b"STSv2"),
        POLICY.replace(b"version: STSv1\r\n", b""),
        POLICY.replace(b"enforce", b"Enforce"),
        POLICY.replace(b"mode: enforce\r\n", b""),
        POLICY.replace(b"604800", b"-1"),
        POLICY.replace(b"604800", b"1 day"),
        POLICY.replace(b"604800", "\u0661".encode()),
        POLICY.replace(b"max_age: 604800\r\n", b""),
        b"version: STSv1\nmode: enforce\nmax_age: 1\n",
        b"version: STSv1\nmode: testing\nmax_age: 1\n",
        POLICY.replace(b"*.example.net", b"*example.net"),
        POLICY.replace(b"*.example.net", b"a.*.example.net"),
        POLICY.replace(b"*.example.net", b"*"),
        POLICY.replace(b"*.example.net", b""),
        POLICY.replace(b"*.example.net", b"exa mple.net"),
        POLICY.replace(b"*.example.net", b".example.net"),
        b"<html>" + POLICY,
        POLICY + b"no field\n",
        POLICY + b"\xff: 1\n",
        POLICY + b"x: " + b"y" * MAX_POLICY_OCTETS,
        POLICY + b"mx: a.example\n" * 600,
    ],
)
def test_what_breaks_the_grammar_is_no_policy(octets: bytes) -> None:
    with pytest.raises(PolicyError):
        parse_policy(octets)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("mail.example.com", True),
        ("MAIL.example.com.", True),
        ("x.mail.example.com", False),
        ("example.com", False),
        ("mx1.example.net", True),
        ("example.net", False),
        ("a.mx1.example.net", False),
        ("mx1.example.net.evil.test", False),
        ("", False),
    ],
)
def test_a_pattern_stands_for_one_label(host: str, expected: bool) -> None:
    assert parse_policy(POLICY).allows(host) is expected


@given(st.binary(max_size=400))
def test_any_octets_are_a_policy_or_refused(noise: bytes) -> None:
    for octets in (noise, POLICY[: len(noise)] + noise + POLICY[len(noise) :]):
        try:
            policy = parse_policy(octets)
        except PolicyError:
            continue
        assert policy.hosts or policy.mode is Mode.NONE


@given(st.lists(st.text(max_size=60).map(lambda text: "v=STSv1;" + text), max_size=2))
def test_any_text_gives_an_id_or_nothing(texts: list[str]) -> None:
    identifier = policy_id(texts)
    assert identifier is None or (identifier.isascii() and identifier.isalnum())
