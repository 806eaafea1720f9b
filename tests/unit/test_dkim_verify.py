"""DKIM verification (RFC 6376, 8301, 8463): examples of the RFCs, every rule of signatures and keys,
the traps that others fell into, and that no changed byte passes."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import example, given, settings
from hypothesis import strategies as st

from posthorn.adapters.dkim import generate, load_private_key, make_signature
from posthorn.adapters.signature_check import CryptographySignatureCheck
from posthorn.wire.auth import dkim as signing
from posthorn.wire.auth.canonicalization import BodyHash, Form, canonical_field
from posthorn.wire.auth.dkim_verify import verify
from posthorn.wire.auth.header_signatures import (
    LONGEST_HEADER_BYTES,
    MOST_SIGNATURES,
    BodyHashes,
    read_signatures,
    split_message,
)
from posthorn.wire.auth.message_hash import MessageHash
from posthorn.wire.auth.public_key import parse_key_record
from posthorn.wire.auth.results import Dkim, Outcome
from posthorn.wire.auth.signature import MOST_NAMES, Signature
from posthorn.wire.auth.tags import TagError
from tests.support.cpu_cost import cost_of
from tests.support.signing import (
    BODY,
    DOMAIN,
    HEADER,
    NOW,
    KeyZone,
    Tags,
    ed25519_key,
    record,
    rsa_key,
    signature_field,
)

CHECK = CryptographySignatureCheck()


async def results(
    message: bytes, zone: KeyZone | None = None, *, now: float = NOW
) -> tuple[Dkim, ...]:
    header, body = split_message(message)
    hashes = BodyHashes.of(header)
    hashes.update(body)
    return await verify(zone or KeyZone(), CHECK, hashes, now=now)


def signed(
    header: bytes = HEADER, body: bytes = BODY, tags: Tags | None = None, **kind: Any
) -> bytes:
    field = signature_field("DKIM-Signature", header, body, tags, **kind)
    return field + header + b"\r\n" + body


async def outcome(message: bytes, zone: KeyZone | None = None) -> tuple[Outcome, str]:
    (result,) = await results(message, zone)
    return result.outcome, result.reason


def key_name(selector: str = "rsa", domain: str = DOMAIN) -> str:
    return f"{selector}._domainkey.{domain}"


# Examples of the standards

JOE = """From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game. Are you hungry yet?

Joe.
"""
RFC_6376_A = (
    """DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;
      c=simple/simple; q=dns/txt; i=joe@football.example.com;
      h=Received : From : To : Subject : Date : Message-ID;
      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
      b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB
      4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut
      KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV
      4bmp/YzhwvcubU4=;
Received: from client1.football.example.com  [192.0.2.1]
      by submitserver.example.com with SUBMISSION;
      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)
"""
    + JOE
)
RFC_8463_A = (
    """DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
"""
    + JOE
)
STANDARD = KeyZone(
    {
        key_name("brisbane", "example.com"): [
            b"v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYt"
            b"IxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhi"
            b"tdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB"
        ],
        key_name("brisbane", "football.example.com"): [
            b"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
        ],
        key_name("test", "football.example.com"): [
            b"v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2"
            b"jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3"
            b"Ip3G+2kryOTIKT+l/K4w3QIDAQAB"
        ],
    }
)


async def test_examples_of_the_standards_pass() -> None:
    (example_6376,) = await results(RFC_6376_A.replace("\n", "\r\n").encode(), STANDARD)
    assert example_6376.outcome is Outcome.PASS
    assert (example_6376.domain, example_6376.selector) == ("example.com", "brisbane")
    one, other = await results(RFC_8463_A.replace("\n", "\r\n").encode(), STANDARD)
    assert (one.outcome, one.algorithm, one.key_bits) == (Outcome.PASS, "ed25519-sha256", 256)
    assert (other.outcome, other.algorithm, other.key_bits) == (Outcome.PASS, "rsa-sha256", 1024)
    assert (one.signature_start, other.signature_start) == ("/gCrinpc", "F45dVWDf")


# Canonical forms and what may happen on the way

TRAVELLED: dict[str, Callable[[bytes, bytes], tuple[bytes, bytes]]] = {
    "as it is": lambda header, body: (header, body),
    "names in capitals": lambda header, body: (header.replace(b"Subject:", b"SUBJECT :"), body),
    "unfolded": lambda header, body: (header.replace(b"\r\n\t subject", b" subject"), body),
    "folded anew": lambda header, body: (header.replace(b"A  folded", b"A\r\n \t folded"), body),
    "white space at line ends": lambda header, body: (
        header.replace(b"example.net\r\nS", b"example.net \t\r\nS"),
        body.replace(b"Bob,", b"Bob,\t "),
    ),
    "white space inside": lambda header, body: (header, body.replace(b"how  are", b"how \t are")),
    "empty lines at the end": lambda header, body: (header, body + b"\r\n\r\n"),
    "no line end": lambda header, body: (header, body.rstrip()),
    "other fields": lambda header, body: (b"Received: by z\r\nX-Y: z\r\n" + header, body),
    "a body of words more": lambda header, body: (header, body + b"more\r\n"),
    "another subject": lambda header, body: (header.replace(b"folded", b"bent"), body),
    "a second Subject": lambda header, body: (header + b"Subject: other\r\n", body),
    "a word divided": lambda header, body: (header, body.replace(b"Hello", b"Hel lo")),
    "an empty line less": lambda header, body: (header, body.replace(b"\r\n\r\nhow", b"\r\nhow")),
}
RELAXED_HEADER = {"names in capitals", "unfolded", "folded anew"}
RELAXED = {"white space at line ends", "white space inside", *RELAXED_HEADER}
ALWAYS = {"as it is", "empty lines at the end", "no line end", "other fields"}


@pytest.mark.parametrize("kind", ["rsa", "ed"])
@pytest.mark.parametrize("forms", ["relaxed/relaxed", "relaxed", "simple/simple", "simple/relaxed"])
async def test_what_may_change_on_the_way_and_what_not(forms: str, kind: str) -> None:
    key = rsa_key() if kind == "rsa" else ed25519_key()
    field = signature_field("DKIM-Signature", HEADER, BODY, {"c": forms}, key=key)
    header_form, _, body_form = forms.partition("/")
    may = set(ALWAYS)
    if header_form == "relaxed":
        may |= RELAXED_HEADER
    if body_form == "relaxed":
        may |= {"white space inside"}
    if forms == "relaxed/relaxed":
        may |= RELAXED
    for what, change in TRAVELLED.items():
        header, body = change(HEADER, BODY)
        found, _ = await outcome(field + header + b"\r\n" + body)
        assert found is (Outcome.PASS if what in may else Outcome.FAIL), what


async def test_without_c_the_form_is_simple() -> None:
    header = HEADER.replace(b"A  folded\r\n\t subject", b"A  plain subject")
    message = signed(
        header, b"one\r\n", {"c": "simple/simple"}, template="{v};{a};{d};{s};{h};{bh};{b}"
    )
    assert await outcome(message) == (Outcome.PASS, "")
    assert (await outcome(message.replace(b"A  plain", b"A plain")))[0] is Outcome.FAIL


@pytest.mark.parametrize(
    "body", [b"", b"\r\n", b"\r\n\r\n", b"x", b" \r\n", b"\t \r\n\r\n", b"a\r\n b\r"]
)
@pytest.mark.parametrize("forms", ["simple/simple", "relaxed/relaxed"])
async def test_odd_bodies(body: bytes, forms: str) -> None:
    assert await outcome(signed(body=body, tags={"c": forms})) == (Outcome.PASS, "")


PIECES = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b" ", b"\t", b"a", b"\0", b"xy z"]), max_size=40
)


@given(PIECES, st.lists(st.integers(0, 60), max_size=6), st.sampled_from(list(Form)))
@example([b"\r", b"\r", b"\n"], [1, 2], Form.SIMPLE)
def test_cut_anywhere_a_body_has_one_hash(words: list[bytes], cuts: list[int], form: Form) -> None:
    body = b"".join(words)
    whole, cut = BodyHash(form), BodyHash(form)
    whole.update(body)
    places = sorted({0, *(min(each, len(body)) for each in cuts), len(body)})
    for start, end in pairwise(places):
        cut.update(body[start:end])
    assert cut.digest() == whole.digest()
    assert cut.length == whole.length


@given(PIECES)
def test_simple_form_by_its_definition(words: list[bytes]) -> None:
    body = b"".join(words)
    expected = body if body.endswith(b"\r\n") or not body else body + b"\r\n"
    while expected.endswith(b"\r\n"):
        expected = expected[:-2]
    hashed = BodyHash(Form.SIMPLE)
    hashed.update(body)
    assert hashed.digest() == hashlib.sha256(expected + b"\r\n").digest()
    assert hashed.length == len(expected) + 2


# The signature field

ACCEPTED: dict[str, Tags] = {
    "i= of the domain": {"i": f"@{DOMAIN}"},
    "i= of a subdomain": {"i": f"alice=40x@mail.{DOMAIN}"},
    "q=": {"q": "dns/txt"},
    "one of several q=": {"q": "other/x : dns/txt"},
    "l= of the whole body": {"l": str(len(b"Hello Bob,\r\n\r\nhow are you?\r\n--\r\nAlice\r\n"))},
    "not yet expired": {"t": str(NOW - 100), "x": str(NOW + 100)},
    "a clock that is an hour ahead": {"t": str(NOW + 3600)},
    "unknown tags": {"zz": "1", "form": "7bit"},
    "h= in capitals with blanks": {"h": "From : TO\r\n\t: Subject"},
    "names that do not occur": {"h": "from:to:sender:reply-to:sender"},
    "From twice": {"h": "from:to:from"},
    "d= in capitals": {"d": "EXAMPLE.org"},
}
REFUSED: dict[str, tuple[Tags, Outcome]] = {
    "no v": ({"v": None}, Outcome.PERMERROR),
    "version 2": ({"v": "2"}, Outcome.NEUTRAL),
    "no a": ({"a": None}, Outcome.PERMERROR),
    "rsa-sha1": ({"a": "rsa-sha1"}, Outcome.POLICY),
    "a later algorithm": ({"a": "mldsa-sha512"}, Outcome.NEUTRAL),
    "no d": ({"d": None}, Outcome.PERMERROR),
    "empty d": ({"d": ""}, Outcome.PERMERROR),
    "d is a top-level domain": ({"d": "org"}, Outcome.PERMERROR),
    "d is an address": ({"d": "[192.0.2.1]"}, Outcome.PERMERROR),
    "d is no domain": ({"d": "a..b"}, Outcome.PERMERROR),
    "no s": ({"s": None}, Outcome.PERMERROR),
    "s is no selector": ({"s": "a..b"}, Outcome.PERMERROR),
    "no h": ({"h": None}, Outcome.PERMERROR),
    "From is not signed": ({"h": "to:subject"}, Outcome.PERMERROR),
    "no bh": ({"bh": None}, Outcome.PERMERROR),
    "bh is no base64": ({"bh": "??"}, Outcome.PERMERROR),
    "no b": ({"b": None}, Outcome.PERMERROR),
    "empty b": ({"b": ""}, Outcome.PERMERROR),
    "b is no base64": ({"b": "a b c%"}, Outcome.PERMERROR),
    "another b": ({"b": "AAAA"}, Outcome.FAIL),
    "another bh": ({"bh": "AAAA"}, Outcome.FAIL),
    "unknown c": ({"c": "nowsp"}, Outcome.NEUTRAL),
    "unknown q": ({"q": "http"}, Outcome.NEUTRAL),
    "i elsewhere": ({"i": "@example.net"}, Outcome.PERMERROR),
    "i above": ({"i": "@org"}, Outcome.PERMERROR),
    "i beside": ({"i": f"@bad{DOMAIN}"}, Outcome.PERMERROR),
    "l is no number": ({"l": "-1"}, Outcome.PERMERROR),
    "expired": ({"x": str(NOW - 1000)}, Outcome.PERMERROR),
    "from the future": ({"t": str(NOW + 100_000)}, Outcome.PERMERROR),
    "expired before it began": ({"t": str(NOW), "x": str(NOW)}, Outcome.PERMERROR),
    "t is no number": ({"t": "now"}, Outcome.PERMERROR),
    "t is empty": ({"t": ""}, Outcome.PERMERROR),
    "too many names": ({"h": "from" + ":x" * MOST_NAMES}, Outcome.PERMERROR),
    "a very long field": ({"z": "x" * 40_000}, Outcome.PERMERROR),
}


@pytest.mark.parametrize("what", ACCEPTED)
async def test_a_signature_by_the_rules_passes(what: str) -> None:
    assert await outcome(signed(tags=ACCEPTED[what])) == (Outcome.PASS, "")


@pytest.mark.parametrize("what", REFUSED)
async def test_a_signature_against_the_rules_has_the_right_outcome(what: str) -> None:
    tags, expected = REFUSED[what]
    found, reason = await outcome(signed(tags=tags))
    assert found is expected
    assert reason and reason.isascii() and reason.isprintable() and "=" not in reason


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{tags};", Outcome.PASS),
        (" ;\r\n\t{tags}", Outcome.PERMERROR),
        ("{tags}; ;", Outcome.PERMERROR),
        ("{tags}; a=rsa-sha256", Outcome.PERMERROR),
        ("{tags}; 1x=y", Outcome.PERMERROR),
        ("{tags}; x", Outcome.PERMERROR),
        ("{tags}; A=b", Outcome.PASS),
        ("{tags}; n=a\0b", Outcome.PERMERROR),
        ("\r\n\tv\t=\r\n 1 ;{a} ; {c}\t;{d};{s};{h};{bh};\r\n {b}", Outcome.PASS),
        ("{b}; {v}; {a}; {c}; {d}; {s}; {h}; {bh}", Outcome.PASS),
    ],
)
async def test_the_form_of_tag_lists(template: str, expected: Outcome) -> None:
    for forms in ("relaxed/relaxed", "simple/simple"):
        found, _ = await outcome(signed(tags={"c": forms}, template=template))
        assert found is expected


async def test_white_space_around_the_signature_is_not_signed() -> None:
    message = signed(tags={"c": "simple/simple"})
    (signature,) = re.findall(rb" b=([^\r]+)", message)
    folded = message.replace(
        signature, b"\r\n\t " + signature[:9] + b"\r\n " + signature[9:] + b" \r\n\t"
    )
    assert await outcome(folded) == (Outcome.PASS, "")
    # the same of the end of a field that ends in a semicolon
    message = signed(tags={"c": "simple/simple"}, template="{tags};")
    assert await outcome(message.replace(b";\r\nMIME", b" ;\r\nMIME")) == (Outcome.PASS, "")
    assert (await outcome(message.replace(b";\r\nMIME", b"; \r\nMIME")))[0] is Outcome.FAIL


async def test_what_can_be_read_of_a_bad_signature_is_shown() -> None:
    (bad,) = await results(signed(tags={"h": "to", "b": "ab cd=pass"}))
    assert bad == Dkim(
        Outcome.PERMERROR,
        DOMAIN,
        "rsa",
        "the tag b is not base64",
        "rsa-sha256",
        signature_start="abcd",
    )
    (none,) = await results(signed(tags={"a": "x(y", "d": "\N{SNOWMAN}", "s": "a;b"}))
    assert (none.outcome, none.domain, none.algorithm) == (Outcome.PERMERROR, "", "")


async def test_domains_outside_of_ascii_become_a_labels() -> None:
    zone = KeyZone({key_name("xn--schlssel-95a", "xn--bcher-kva.example"): [record(rsa_key())]})
    (result,) = await results(signed(tags={"d": "bücher.example", "s": "schlüssel"}), zone)
    assert (result.outcome, result.domain) == (Outcome.PASS, "xn--bcher-kva.example")


# Keys


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ("", Outcome.PASS),
        ("h=sha1:sha256; ", Outcome.PASS),
        ("h=sha1; ", Outcome.PERMERROR),
        ("s=email; ", Outcome.PASS),
        ("s=other : *; ", Outcome.PASS),
        ("s=tlsrpt; ", Outcome.PERMERROR),
        ("t=s; ", Outcome.PASS),
        ("n=notes; g=*; zz=1; ", Outcome.PASS),
        ("p=; ", Outcome.PERMERROR),
    ],
)
async def test_rules_of_key_records(extra: str, expected: Outcome) -> None:
    zone = KeyZone({key_name(): [record(rsa_key(), extra)]})
    assert (await outcome(signed(), zone))[0] is expected


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"hello",
        b"v=DKIM2; p=AAAA",
        b"k=rsa; v=DKIM1; p=AAAA",
        b"v=DKIM1; k=rsa",
        b"v=DKIM1; p=?",
        b"v=DKIM1; p=AAAA; p=AAAA",
        b"v=DKIM1; k=mldsa; p=AAAA",
        b"v=DKIM1; k=ed25519; p=AAAA",
        b"v=DKIM1; p=AAAA",
        b"v=DKIM1; k=rsa; p=" + b"A" * 9000,
        pytest.param(record(ed25519_key()), id="ed25519 for RSA"),
        pytest.param(record(ed25519_key()).replace(b"ed25519", b"rsa"), id="ed25519 called RSA"),
        pytest.param(record(rsa_key()).replace(b"rsa", b"ed25519"), id="RSA called ed25519"),
        "v=DKIM1; k=\N{SNOWMAN}; p=AAAA".encode(),
    ],
)
async def test_a_key_that_cannot_be_used_is_a_permanent_error(text: bytes) -> None:
    assert (await outcome(signed(), KeyZone({key_name(): [text]})))[0] is Outcome.PERMERROR


async def test_no_key_a_revoked_one_and_no_answer() -> None:
    revoked = KeyZone({key_name(): [b"v=DKIM1; p="]})
    assert await outcome(signed(), revoked) == (Outcome.PERMERROR, "the key is revoked")
    message = signed(tags={"s": "nobody"})
    assert await outcome(message) == (Outcome.PERMERROR, "there is no key")
    empty = KeyZone({key_name(): []})
    assert await outcome(signed(), empty) == (Outcome.PERMERROR, "there is no key")
    silent = KeyZone({key_name(): None})
    assert await outcome(signed(), silent) == (Outcome.TEMPERROR, "the key lookup failed")
    # a body that does not match is a failure, whatever the key is
    assert (await outcome(signed() + b"more\r\n", silent))[0] is Outcome.FAIL


async def test_a_key_in_test_mode_is_told_and_its_signature_judged() -> None:
    zone = KeyZone({key_name(): [record(rsa_key(), "t=y:s; ")]})
    (good,) = await results(signed(), zone)
    (bad,) = await results(signed() + b"more\r\n", zone)
    assert (good.outcome, good.is_testing) == (Outcome.PASS, True)
    assert (bad.outcome, bad.is_testing) == (Outcome.FAIL, True)
    assert (await outcome(signed(tags={"i": f"@x.{DOMAIN}"}), zone))[0] is Outcome.PERMERROR


async def test_a_key_in_the_older_form_of_rsa_is_read() -> None:
    public = rsa_key().public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    zone = KeyZone({key_name(): [b"p=" + base64.b64encode(public)]})
    assert (await outcome(signed(), zone))[0] is Outcome.PASS


# Traps of the reference, by their numbers


async def test_trap_7_text_after_a_partial_body_is_never_taken_for_signed() -> None:
    message = signed(body=b"Pay 1\r\n", tags={"l": "7"})
    assert (await outcome(message))[0] is Outcome.PASS
    expected = (Outcome.PERMERROR, "it does not cover the whole body")
    assert await outcome(message + b"Pay 1000\r\n") == expected
    assert await outcome(signed(tags={"l": "0"})) == expected
    assert (await outcome(signed(tags={"l": "9" * 76})))[0] is Outcome.PERMERROR


@pytest.mark.parametrize(
    ("bits", "expected"),
    [(512, Outcome.POLICY), (1023, Outcome.POLICY), (1024, Outcome.FAIL), (8192, Outcome.FAIL),
     (8193, Outcome.POLICY), (16384, Outcome.POLICY)],
)  # fmt: skip
async def test_trap_8_short_keys_are_refused_and_those_of_1024_bits_are_not(
    bits: int, expected: Outcome
) -> None:
    public = RSAPublicNumbers(65537, (1 << (bits - 1)) + 12345).public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    zone = KeyZone({key_name(): [b"v=DKIM1; p=" + base64.b64encode(der)]})
    (result,) = await results(signed(), zone)
    assert (result.outcome, result.key_bits) == (expected, bits)


async def test_trap_8_a_failing_signature_says_nothing_of_the_one_beside_it() -> None:
    bad = signature_field("DKIM-Signature", HEADER, BODY, {"b": "AAAA"}, key=ed25519_key())
    for message in (bad + signed(), signed().replace(HEADER, bad + HEADER)):
        found = {each.algorithm: each.outcome for each in await results(message)}
        assert found == {"ed25519-sha256": Outcome.FAIL, "rsa-sha256": Outcome.PASS}


async def test_trap_9_fields_of_one_name_are_taken_from_the_last_to_the_first() -> None:
    header = b"To: one@x.test\r\n" + HEADER + b"to: two@x.test\r\nTO: three@x.test\r\n"
    message = signed(header, tags={"h": "from:to:To:to:to:TO"})
    assert (await outcome(message))[0] is Outcome.PASS
    swapped = message.replace(b"two@", b"2@").replace(b"three@", b"two@").replace(b"2@", b"three@")
    assert (await outcome(swapped))[0] is Outcome.FAIL
    assert (await outcome(message.replace(HEADER, b"To: four@x.test\r\n" + HEADER)))[
        0
    ] is Outcome.FAIL
    loose = signed(header, tags={"h": "from:to"})
    assert (await outcome(loose.replace(b"one@", b"another@")))[0] is Outcome.PASS


async def test_trap_9_each_record_of_a_selector_is_tried() -> None:
    others = [b"not a key", record(rsa_key(2048)), b"v=DKIM1; p="]
    zone = KeyZone({key_name(): [*others, record(rsa_key())]})
    assert (await outcome(signed(), zone))[0] is Outcome.PASS
    assert (await outcome(signed(), KeyZone({key_name(): others})))[0] is Outcome.FAIL


async def test_trap_9_bytes_are_hashed_never_decoded_text() -> None:
    header = HEADER.replace(b"Alice", b"Al\xefce \xff").replace(b"A  folded", "Grüße".encode())
    for forms in ("simple/simple", "relaxed/relaxed"):
        message = signed(header, b"caf\xe9\r\n\x85 \x80\r\n", {"c": forms})
        assert (await outcome(message))[0] is Outcome.PASS


async def test_trap_9_the_work_for_one_message_has_limits() -> None:
    fields = signature_field("DKIM-Signature", HEADER, BODY) * 3000
    zone = KeyZone()
    found = await results(fields + HEADER + b"\r\n" + BODY, zone)
    assert [each.outcome for each in found] == [Outcome.PASS] * MOST_SIGNATURES + [Outcome.POLICY]
    assert found[-1].reason == "2992 more than 8 signatures"
    assert zone.asked == [key_name()]
    field = signature_field("DKIM-Signature", HEADER, BODY)
    large = b"X: y\r\n" * (LONGEST_HEADER_BYTES // 6)
    for more in (large, b"a:\r\n" * 20_000):
        (refused,) = await results(field + HEADER + more + b"\r\n" + BODY, zone)
        assert (refused.outcome, refused.reason) == (Outcome.POLICY, "the header is too large")


async def test_trap_10_every_signature_is_judged_with_a_reason_of_its_own() -> None:
    fields = [
        signature_field("DKIM-Signature", HEADER, BODY, tags)
        for tags in ({}, {"a": "rsa-sha1"}, {"x": "1"}, {"bh": "AAAA"}, {"d": "other.test"})
    ]
    found = await results(b"".join(fields) + HEADER + b"\r\n" + BODY)
    assert [(each.outcome, each.reason) for each in found] == [
        (Outcome.PASS, ""),
        (Outcome.POLICY, "rsa-sha1 is not accepted"),
        (Outcome.PERMERROR, "the signature has expired"),
        (Outcome.FAIL, "the body does not match"),
        (Outcome.PERMERROR, "there is no key"),
    ]


async def test_a_signature_over_others_does_not_cover_itself() -> None:
    inner = signature_field("DKIM-Signature", HEADER, BODY, key=ed25519_key())
    tags = {"h": "from:dkim-signature:dkim-signature"}
    outer = signature_field("DKIM-Signature", inner + HEADER, BODY, tags)
    one, other = await results(outer + inner + HEADER + b"\r\n" + BODY)
    assert (one.outcome, other.outcome) == (Outcome.PASS, Outcome.PASS)


async def test_each_key_is_asked_for_once_and_all_at_once() -> None:
    fields = [
        signature_field("DKIM-Signature", HEADER, BODY, {"s": selector})
        for selector in ("rsa", "other", "rsa", "third")
    ]
    zone, waiting, most = KeyZone(), 0, 0

    async def texts(name: str) -> Sequence[bytes] | None:
        nonlocal waiting, most
        zone.asked.append(name)
        waiting += 1
        most = max(most, waiting)
        await asyncio.sleep(0)
        waiting -= 1
        return [record(rsa_key())]

    zone.texts = texts  # type: ignore[method-assign]
    hashes = BodyHashes.of(b"".join(fields) + HEADER)
    hashes.update(BODY)
    found = await verify(zone, CHECK, hashes, now=NOW, gather=asyncio.gather)
    assert [each.outcome for each in found] == [Outcome.PASS] * 4
    assert (len(zone.asked), most) == (3, 3)


async def test_without_signatures_the_body_is_not_hashed() -> None:
    hashes = BodyHashes.of(HEADER)
    assert not hashes.is_needed
    hashes.update(BODY)
    assert await verify(KeyZone(), CHECK, hashes, now=NOW) == ()
    assert BodyHashes.of(signed()).signatures.forms == {Form.RELAXED}


# Nothing that a stranger sends raises, and nothing that was changed passes


@given(
    st.binary(max_size=300)
    | st.lists(
        st.sampled_from(
            [b"v=1", b"a=rsa-sha256", b"d=x.test", b"s=y", b"h=from", b"bh=", b"b=", b"b=AAAA", b"l=1",
             b"t=1", b"x=1", b"i=@x.test", b"c=simple", b";", b";;", b" ", b"\r\n ", b"=", b"\xff", b"\0"]
        )
    ).map(b";".join)
)  # fmt: skip
@settings(max_examples=300)
def test_no_signature_field_raises(value: bytes) -> None:
    found = read_signatures(b"DKIM-Signature:" + value + b"\r\n" + HEADER)
    assert all(isinstance(each, Signature | Dkim) for each in found.dkim)
    read_signatures(value)


@given(
    st.binary(max_size=200)
    | st.text(alphabet="v=DKIM1;kpths :rsaed25519AB", max_size=80).map(str.encode)
)
def test_no_key_record_raises(text: bytes) -> None:
    try:
        parsed = parse_key_record(text)
    except TagError:
        return
    assert isinstance(parsed.key, bytes)


MESSAGE = signed(tags={"h": "from:to:subject:date:message-id:mime-version:received"})


@given(st.integers(0, len(MESSAGE) - 1), st.integers(1, 255))
@example(MESSAGE.index(b"=\r\n") - 1, 1)  # "Q" to "P", the signature itself
@example(MESSAGE.index(b"=\r\n") - 1, 3)  # "Q" to "R", of the same bytes
@settings(max_examples=300, deadline=None)
async def test_no_changed_byte_passes(at: int, change: int) -> None:
    changed = MESSAGE[:at] + bytes([MESSAGE[at] ^ change]) + MESSAGE[at + 1 :]
    found = await results(changed)
    if not any(each.outcome is Outcome.PASS for each in found):
        return
    # only what the relaxed form makes equal: case of names, white space, unsigned bytes of the field
    header, body = split_message(changed)
    other_header, other_body = split_message(MESSAGE)
    hashes = [BodyHash(), BodyHash()]
    hashes[0].update(body)
    hashes[1].update(other_body)
    assert hashes[0].digest() == hashes[1].digest()
    assert _relaxed(header) == _relaxed(other_header)


def _relaxed(header: bytes) -> Sequence[bytes]:
    """The signed fields in relaxed form; of the signature without white space, and the value itself
    in place of its base64, whose last character has bits that mean nothing."""
    found = read_signatures(header)
    lines = [
        found.header.canonical(field, Form.RELAXED)
        for field in found.header.fields
        if field.name != b"dkim-signature"
    ]
    for signature in found.dkim:
        assert isinstance(signature, Signature)
        lines.append(canonical_field(signature.unsigned, Form.RELAXED).replace(b" ", b""))
        lines.append(signature.value)
    return lines


# With our own signer


@pytest.mark.parametrize(("algorithm", "blocks"), [("rsa", 100), ("ed25519", 2)])
async def test_what_we_sign_verifies_however_large_it_is(algorithm: str, blocks: int) -> None:
    private, public = generate(algorithm)
    block = (b"0123456789 \t abcdef\r\n" * 13_000)[: 256 * 1024]
    head = HEADER + b"\r\n"
    made = MessageHash()
    made.update(head)
    for _ in range(blocks):
        made.update(block)
    header, body_hash = made.result()
    fields = signing.sign_header(header)
    assert fields is not None
    unsigned = signing.unsigned_field(DOMAIN, "own", algorithm, fields, body_hash, NOW)
    signature = make_signature(
        load_private_key(private), signing.header_hash_input(fields, unsigned)
    )
    field = signing.finished_field(unsigned, signature).encode()

    zone = KeyZone({key_name("own"): [signing.record_value(algorithm, public).encode()]})
    hashes = BodyHashes.of(field + HEADER)
    for _ in range(blocks // 2):
        hashes.update(block + block)
    (result,) = await verify(zone, CHECK, hashes, now=NOW)
    assert (result.outcome, result.selector) == (Outcome.PASS, "own")


async def test_hostile_lists_cost_little() -> None:
    names = "from:" + ":".join(f"x{number}" for number in range(MOST_NAMES - 1))
    field = signature_field("DKIM-Signature", HEADER, BODY, {"h": names})
    header = (
        b"".join(b"x%d: %s\r\n" % (number % 400, b"y " * 500) for number in range(900)) + HEADER
    )
    message = field * MOST_SIGNATURES + header + b"\r\n" + BODY
    assert await cost_of(lambda: results(message), 2) < 2
