"""Authentication-Results: fields that claim to be ours go, whatever their form, and nothing else
changes; what we write holds our results and nothing that a stranger could add."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from posthorn.wire.auth.authentication_results import (
    RULES_LIMIT,
    WIDTH,
    results_field,
    verdict_field,
    without_ours,
)
from posthorn.wire.auth.results import (
    Arc,
    Authentication,
    Dkim,
    Dmarc,
    Iprev,
    Outcome,
    Policy,
    Spf,
)

OURS = "mx.example.test"


@pytest.mark.parametrize(
    "field",
    [
        b"Authentication-Results: mx.example.test; spf=pass smtp.mailfrom=bank.test\r\n",
        b"authentication-RESULTS : MX.Example.Test.;none\r\n",
        b"Authentication-Results:\r\n\tmx.example.test;\r\n dkim=pass\r\n",
        b"Authentication-Results: (by (the) way\\)) mx.example.test (1.0) 1; spf=pass\r\n",
        b'Authentication-Results: "mx.example\\.test"; spf=pass\r\n',
        b"Authentication-Results: mx.example.test\r\n",
        b"Authentication-Results\r\n :\r\n\tmx.example.test; spf=pass\r\n",
        b"AUTHENTICATION-RESULTS \t: (a) (b(c)) mx.example.test/1; spf=pass\r\n".replace(
            b"/1", b" 1"
        ),
        b"Authentication-Results: =?utf-8?Q?mx.example.test?=; spf=pass\r\n",
        b"Authentication-Results: (c) =?us-ascii?B?bXguZXhhbXBsZS50ZXN0?=; spf=pass\r\n",
        b"Authentication-Results: mx.exam\0ple.test; spf=pass\r\n",
        b'Authentication-Results: "mx.example.test" "x"; spf=pass\r\n',
        b"X-Posthorn-Verdict: deliver; score=-10\r\n",
        b"x-posthorn-VERDICT\r\n\t : deliver;\r\n score=0\r\n",
    ],
)
def test_a_field_that_claims_to_be_ours_goes(field: bytes) -> None:
    before, after = b"Received: from a\r\n\tby b\r\n", b"Subject: x\r\n"
    assert without_ours(before + field + after, OURS) == before + after
    assert without_ours(after + field, OURS) == after
    assert without_ours(field + field + before, OURS) == before


_CASES = st.sampled_from([bytes.lower, bytes.upper, bytes.title])
_SPACE = st.lists(
    st.sampled_from([b" ", b"\t", b"\r\n ", b"\r\n\t", b"(c)", b"(a (b) \\) c)", b"( \r\n )"]),
    max_size=4,
).map(b"".join)
_WHITE = st.lists(st.sampled_from([b" ", b"\t", b"\r\n "]), max_size=3).map(b"".join)
_FORMS = st.sampled_from(
    [b"mx.example.test", b'"mx.example.test"', b'"mx.\\example.test"', b"mx.example.test."]
)


@given(_CASES, _WHITE, _SPACE, _FORMS, _CASES, _SPACE, st.sampled_from([b"", b" 1", b";x=y"]))
def test_a_field_that_claims_to_be_ours_goes_however_it_is_written(
    case: Callable[[bytes], bytes],
    before: bytes,
    between: bytes,
    form: bytes,
    id_case: Callable[[bytes], bytes],
    after: bytes,
    rest: bytes,
) -> None:
    name = case(b"authentication-results")
    field = name + before + b":" + between + id_case(form) + after + rest + b"\r\n"
    others = b"Received: from a\r\n\tby b\r\n", b"Subject: x\r\n"
    assert without_ours(others[0] + field + others[1], OURS) == b"".join(others)


@pytest.mark.parametrize(
    "field",
    [
        b"Authentication-Results: mx.example.test.evil.test; spf=pass\r\n",
        b"Authentication-Results: other.test; spf=pass (mx.example.test)\r\n",
        b"X-Authentication-Results: mx.example.test; spf=pass\r\n",
        b"Subject: hello\r\n Authentication-Results: mx.example.test; spf=pass\r\n",
        b"ARC-Authentication-Results: i=1; mx.example.test; spf=pass\r\n",
        b"Authentication-Results:\r\n",
        b"X-Posthorn-Verdict-Too: deliver\r\n",
        b"Authentication-Results: =?utf-8?Q?mx.example.test.evil?=; spf=pass\r\n",
        b"Subject: x\r\n X-Posthorn-Verdict: deliver\r\n",
    ],
)
def test_fields_of_others_stay(field: bytes) -> None:
    assert without_ours(field + b"Subject: x\r\n", OURS) == field + b"Subject: x\r\n"


@given(
    st.lists(
        st.sampled_from(
            [b"A: b\r\n", b" c\r\n", b"\tAuthentication-Results: x\r\n", b"\xff:\0\r\n"]
        )
    ).map(b"".join)
)
def test_nothing_else_changes(block: bytes) -> None:
    assert without_ours(block, OURS) == block


def test_an_id_outside_of_ascii_goes_in_either_form() -> None:
    for name in ("mx.b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.test", "MX.xn--bcher-kva.test"):
        field = f"Authentication-Results: {name}; spf=pass\r\n".encode()
        assert without_ours(field, "mx.xn--bcher-kva.test") == b""


# What we write, read again by RFC 8601 §2.2


class Result(NamedTuple):
    method: str
    outcome: str
    reason: str
    properties: dict[str, str]


_TOKENS = re.compile(
    r'"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<open>\()|(?P<mark>[;=])|(?P<word>[^\s;="()]+)|(?P<space>\s+)'
)


def read(field: bytes) -> tuple[str, list[Result]]:
    """Read a field strictly; the id and its results."""
    text = field.decode("ascii")
    assert text.endswith("\r\n") and "\r\n" not in re.sub(r"\r\n[ \t]", "", text[:-2])
    name, _, value = text.partition(":")
    assert name == "Authentication-Results"
    statements: list[list[str]] = [[]]
    at, value = 0, value.replace("\r\n", "")
    while at < len(value):
        token = _TOKENS.match(value, at)
        assert token is not None, value[at:]
        at = token.end()
        if token["open"]:
            end = value.index(")", at)
            assert re.fullmatch(r"[A-Za-z0-9._-]+", value[at:end])
            at = end + 1
        elif token["mark"] == ";":
            statements.append([])
        elif not token["space"]:
            quoted = token["quoted"]
            statements[-1].append(quoted if quoted is not None else token[0])
    (authserv_id,), *rest = statements
    results = []
    for words in rest:
        triples = [words[start : start + 3] for start in range(0, len(words), 3)]
        assert all(len(each) == 3 and each[1] == "=" for each in triples), words
        (method, _, outcome), *more = triples
        pairs = {key: text for key, _, text in more}
        results.append(Result(method, outcome, pairs.pop("reason", ""), pairs))
    return authserv_id, results


FULL = Authentication(
    Iprev(Outcome.PASS, "mail.example.org"),
    (
        Spf(Outcome.PASS, "helo", "mail.example.org"),
        Spf(Outcome.SOFTFAIL, "mailfrom", "example.org", "~all matches"),
    ),
    (
        Dkim(Outcome.PASS, "example.org", "s1", "", "rsa-sha256", 2048, "ab/+cdEF"),
        Dkim(Outcome.FAIL, "lists.test", "s2", "the body does not match", "ed25519-sha256"),
    ),
    Dmarc(
        Outcome.FAIL,
        "news.example.org",
        "example.org",
        "example.org",
        Policy.REJECT,
        Policy.QUARANTINE,
        is_testing=True,
    ),
    Arc(Outcome.PASS, ("lists.test",), oldest_pass=2),
)


def test_every_result_is_written_with_what_it_was_about() -> None:
    field = results_field(
        OURS, FULL, reverse_path="bob@example.org", helo="mail.example.org", client="2001:db8::1"
    )
    assert read(field) == (
        OURS,
        [
            Result("iprev", "pass", "", {"policy.iprev": "2001:db8::1"}),
            Result("spf", "pass", "", {"smtp.helo": "mail.example.org"}),
            Result("spf", "softfail", "~all matches", {"smtp.mailfrom": "bob@example.org"}),
            Result("dkim", "pass", "", {"header.d": "example.org", "header.s": "s1",
                                        "header.a": "rsa-sha256", "header.b": "ab/+cdEF"}),
            Result("dkim", "fail", "the body does not match",
                   {"header.d": "lists.test", "header.s": "s2", "header.a": "ed25519-sha256"}),
            Result("dmarc", "fail", "", {"header.from": "news.example.org", "polrec.p": "reject",
                                         "polrec.domain": "example.org",
                                         "policy.dmarc": "quarantine"}),
            Result("arc", "pass", "", {"header.oldest-pass": "2",
                                       "smtp.remote-ip": "2001:db8::1"}),
        ],
    )  # fmt: skip
    assert b"(mail.example.org)" in field
    assert all(len(line) <= WIDTH for line in field.decode().split("\r\n"))


def test_of_an_unchecked_message_the_field_says_none() -> None:
    """RFC 8601 §2.2, no-result: not that SPF or DKIM found nothing."""
    field = results_field(OURS, Authentication(), reverse_path="a@b.test", helo="x")
    assert field == b"Authentication-Results: mx.example.test; none\r\n"


def test_without_anything_to_check_every_method_says_none() -> None:
    found = Authentication(Iprev(Outcome.FAIL))
    _, results = read(results_field(OURS, found, reverse_path="", helo="x"))
    assert [(each.method, each.outcome) for each in results] == [
        ("iprev", "fail"),
        *((method, "none") for method in ("spf", "dkim", "dmarc", "arc")),
    ]
    assert results[1].properties == {"smtp.helo": "x"}


@pytest.mark.parametrize(
    ("reverse_path", "shown"),
    [
        ("alice@example.org", "alice@example.org"),
        ("a.b+c-d_e@example.org", "a.b+c-d_e@example.org"),
        ("SRS0=abc=de=example.net=bob@example.org", "example.org"),
        ('"a; dkim=pass"@example.org', "example.org"),
        ("j\N{LATIN SMALL LETTER O WITH DIAERESIS}rg@example.org", "example.org"),
    ],
)
def test_the_reverse_path_is_shown_whole_only_if_it_is_plain(reverse_path: str, shown: str) -> None:
    found = Authentication(spf=(Spf(Outcome.PASS, "mailfrom", "example.org"),))
    _, results = read(results_field(OURS, found, reverse_path=reverse_path, helo="h.test"))
    assert results[1].properties == {"smtp.mailfrom": shown}


HOSTILE = st.text(max_size=40) | st.sampled_from(
    [
        "x; dkim=pass header.d=bank.test",
        'x" ; spf=pass; y="',
        "x\\",
        "x) dkim=pass (",
        "x\r\n dkim=pass",
        "a@b; dmarc=pass",
        "spf=pass",
        "\N{FULLWIDTH SEMICOLON} dkim=pass",
        "x" * 2000,
    ]
)


@given(st.lists(HOSTILE, min_size=12, max_size=12), st.sampled_from(list(Outcome)))
@settings(max_examples=100)
@example(['";dkim=pass;"'] * 12, Outcome.FAIL)
def test_trap_no_stranger_writes_a_result(texts: list[str], outcome: Outcome) -> None:
    """As mail-auth up to 0.9.0 allowed it."""
    a, b, c, d, e, f, g, h, i, j, k, m = texts
    found = Authentication(
        Iprev(outcome, a),
        (Spf(outcome, "helo", b, c), Spf(outcome, "mailfrom", d, e)),
        (Dkim(outcome, f, g, h, i, 0, j),),
        Dmarc(outcome, k, m, a, reason=b),
        Arc(outcome, (c,), d, e),
    )
    field = results_field(OURS, found, reverse_path=f"{a}@{b}", helo=c, client=d)
    if found == Authentication():
        assert field == b"Authentication-Results: mx.example.test; none\r\n"
        return
    authserv_id, results = read(field)
    assert authserv_id == OURS
    assert [(each.method, each.outcome) for each in results] == [
        (method, outcome.value) for method in ("iprev", "spf", "spf", "dkim", "dmarc", "arc")
    ]
    # not even one who searches the text for a result finds another
    written = re.findall(rb"(?<![\w.])(iprev|spf|dkim|dmarc|arc)\s*=", field)
    assert written == [b"iprev", b"spf", b"spf", b"dkim", b"dmarc", b"arc"]
    assert all(len(line) < 998 for line in field.split(b"\r\n"))
    assert len(field) < 8000


def test_the_field_has_a_limit_however_many_results_there_are() -> None:
    many = Authentication(
        spf=(Spf(Outcome.FAIL, "helo", "y" * 300, "z" * 300),) * 50,
        dkim=(Dkim(Outcome.FAIL, "x" * 300, "s" * 300, "r" * 300),) * 500,
    )
    assert len(results_field(OURS, many, reverse_path="a@" + "b" * 300, helo="h" * 900)) < 20_000


# X-Posthorn-Verdict


def test_the_verdict_is_one_line_for_people_and_filters() -> None:
    rules = [("DMARC_FAIL", 3.5), ("BAYES", -2.25), ("GTUBE", 10.0)]
    field = verdict_field("spam", score=11.25, rules=rules, message_id="0199-ab")
    assert field == (
        b"X-Posthorn-Verdict: spam; score=11.25; rules=DMARC_FAIL=3.5,BAYES=-2.25,\r\n"
        b"\tGTUBE=10; id=0199-ab\r\n"
    )
    assert verdict_field("unscanned") == b"X-Posthorn-Verdict: unscanned\r\n"
    assert verdict_field("deliver", score=0) == b"X-Posthorn-Verdict: deliver; score=0\r\n"


@given(
    HOSTILE,
    st.floats(-100, 100),
    st.lists(st.tuples(HOSTILE, st.floats(-50, 50)), max_size=80),
    HOSTILE,
)
def test_no_name_of_a_rule_ends_the_verdict(
    action: str, score: float, rules: list[tuple[str, float]], message_id: str
) -> None:
    field = verdict_field(action, score=score, rules=rules, message_id=message_id).decode("ascii")
    assert field.endswith("\r\n") and "\r\n" not in field[:-2].replace("\r\n\t", "")
    assert field.count(";") == 1 + bool(rules) + bool(message_id)
    assert all(len(line) <= 400 for line in field.split("\r\n"))
    assert len(field) < RULES_LIMIT + 700
