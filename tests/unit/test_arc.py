"""ARC validation (RFC 8617 §5.2): the facts of the ARC test suite of ValiMail, 171 cases under their
names there, on messages of our own; and what the suite does not ask."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from posthorn.adapters.signature_check import CryptographySignatureCheck
from posthorn.wire.auth.arc import MOST_MESSAGE_SIGNATURES, RESULTS_LIMIT, validate
from posthorn.wire.auth.header_signatures import MOST_SETS, BodyHashes, split_message
from posthorn.wire.auth.public_key import PublicKeys
from posthorn.wire.auth.results import Arc, Outcome
from tests.support.signing import (
    BODY,
    DOMAIN,
    HEADER,
    NOW,
    KeyZone,
    arc_set,
    record,
    rsa_key,
    signature_field,
)

CHECK = CryptographySignatureCheck()
NONE, PASS, FAIL = Outcome.NONE, Outcome.PASS, Outcome.FAIL
OTHER_BODY = b"--b\r\nContent-Type: text/plain\r\n\r\nHello\r\n--b--\r\n"
OTHER_HEADER = HEADER + b"Content-Type: multipart/mixed; boundary=b\r\n"


def small_key() -> bytes:
    public = RSAPublicNumbers(65537, (1 << 511) + 12345).public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b"v=DKIM1; p=" + base64.b64encode(der)


ZONE = KeyZone(
    {
        f"small._domainkey.{DOMAIN}": [small_key()],
        f"large._domainkey.{DOMAIN}": [record(rsa_key(2048))],
        f"broken._domainkey.{DOMAIN}": [b"v=DKIM1; k=rsa; what is this"],
        "rsa._domainkey.other.test": [record(rsa_key())],
    }
)


async def chain(message: bytes, zone: KeyZone = ZONE) -> Arc:
    header, body = split_message(message)
    hashes = BodyHashes.of(header)
    hashes.update(body)
    return await validate(PublicKeys(zone, CHECK), hashes, now=NOW)


def one(header: bytes = HEADER, body: bytes = BODY, **kind: Any) -> bytes:
    """A message with one set."""
    return arc_set(1, header, body, **kind) + b"\r\n" + body


def varied(kind: dict[str, Any]) -> Callable[[], bytes]:
    return lambda: one(**kind)


def two(first: dict[str, Any] | None = None, **kind: Any) -> bytes:
    """A message with two sets; ``first`` is for the first."""
    inner = arc_set(1, **(first or {}))
    return arc_set(2, inner, **kind) + b"\r\n" + BODY


def sets(count: int) -> bytes:
    header = HEADER
    for number in range(1, count + 1):
        header = arc_set(number, header)
    return header + b"\r\n" + BODY


def doubled(message: bytes, name: bytes, *, lower: bool = False) -> bytes:
    """A message with a field twice: its copy above everything, or under the first field."""
    fields = message.split(b"\r\n\r\n", 1)[0].split(b"\r\n")
    lines: list[bytes] = []
    for line in fields:
        if line.startswith(name + b":") or (lines and line[:1] in b" \t"):
            lines.append(line)
        elif lines:
            break
    field = b"\r\n".join(lines) + b"\r\n"
    return message.replace(field, field + field, 1) if lower else field + message


def without(message: bytes, name: bytes, instance: int) -> bytes:
    """A message without a field of one of its sets."""
    header, body = split_message(message)
    lines = header.split(b"\r\n")
    starts = [at for at, line in enumerate(lines) if line.startswith(name + b":")]
    # the newest set is the uppermost
    at = starts[len(starts) - instance]
    return b"\r\n".join(lines[:at] + lines[at + 1 :]) + b"\r\n" + body


AMS, SEAL, AAR = b"ARC-Message-Signature", b"ARC-Seal", b"ARC-Authentication-Results"
LOOSE = {"h": "from:to"}
PLAIN_H = "from:to:date:subject:mime-version:arc-authentication-results"

type Case = tuple[Callable[[], bytes], Outcome]

CHAIN: dict[str, Case] = {
    "cv_empty": (lambda: b"", NONE),
    "cv_no_headers": (lambda: b"\r\nHello\r\n", NONE),
    "cv_no_body": (lambda: HEADER, NONE),
    "cv_base1": (lambda: HEADER + b"\r\n" + BODY, NONE),
    "cv_base2": (lambda: OTHER_HEADER + b"\r\n" + OTHER_BODY, NONE),
    "cv_pass_i1_1": (lambda: sets(1), PASS),
    "cv_pass_i1_2": (lambda: one(OTHER_HEADER, OTHER_BODY), PASS),
    "cv_pass_i2_1": (lambda: sets(2), PASS),
    "cv_pass_i2_2": (
        lambda: arc_set(2, arc_set(1, OTHER_HEADER, OTHER_BODY), OTHER_BODY) + b"\r\n" + OTHER_BODY,
        PASS,
    ),
    "cv_pass_i2_1_ams1_invalid": (
        lambda: arc_set(2, arc_set(1).replace(b"From: Alice", b"From: Eve")) + b"\r\n" + BODY,
        PASS,
    ),
    "cv_pass_i3_1": (lambda: sets(3), PASS),
    "cv_pass_i4_1": (lambda: sets(4), PASS),
    "cv_pass_i5_1": (lambda: sets(5), PASS),
    "cv_fail_i1_ams_na": (lambda: one(without="ams"), FAIL),
    "cv_fail_i1_ams_invalid": (lambda: one(ams={"b": "AAAA"}), FAIL),
    "cv_fail_i1_as_na": (lambda: one(without="seal"), FAIL),
    "cv_fail_i1_as_pass": (lambda: one(seal={"cv": "pass"}), FAIL),
    "cv_fail_i1_as_cv_fail": (lambda: one(seal={"cv": "fail"}), FAIL),
    "cv_fail_i1_as_invalid": (lambda: one(seal={"b": "AAAA"}), FAIL),
    "cv_fail_i2_ams_na": (lambda: two(without="ams"), FAIL),
    "cv_fail_i2_ams_invalid": (lambda: two(ams={"b": "AAAA"}), FAIL),
    "cv_fail_i2_as2_na": (lambda: two(without="seal"), FAIL),
    "cv_fail_i2_as2_invalid": (lambda: two(seal={"b": "AAAA"}), FAIL),
    "cv_fail_i2_as2_none": (lambda: two(seal={"cv": "none"}), FAIL),
    "cv_fail_i2_as2_fail": (lambda: two(seal={"cv": "fail"}), FAIL),
    "cv_fail_i2_as1_na": (lambda: without(sets(2), SEAL, 1), FAIL),
    "cv_fail_i2_as1_invalid": (lambda: two({"seal": {"b": "AAAA"}}), FAIL),
    "cv_fail_i2_as1_pass": (lambda: two({"seal": {"cv": "pass"}}), FAIL),
    "cv_fail_i2_as1_fail": (lambda: two({"seal": {"cv": "fail"}}), FAIL),
}


def structure(field: str, prefix: str) -> dict[str, Case]:
    """The cases on the instance of each kind of signature."""
    name = {"ams": AMS, "seal": SEAL}[field]
    values = {"na": None, "empty": "", "zero": "0", "invalid": "x"}
    return {
        **{
            f"{prefix}_struct_i_{what}": (varied({field: {"i": value}}), FAIL)
            for what, value in values.items()
        },
        f"{prefix}_struct_dup": (lambda: doubled(sets(1), name), FAIL),
        f"{prefix}_struct_missing": (lambda: one(without=field), FAIL),
    }


def tag_format(field: str, prefix: str) -> dict[str, Case]:
    """The cases on the form of the tag list of each kind of signature."""
    key = f"{field}_template"
    tags = (
        "{i}; {a}; {c}; {d}; {s}; {h}; {t}; {bh}; {b}"
        if field == "ams"
        else ("{i}; {a}; {d}; {s}; {t}; {cv}; {b}")
    )
    name = "ARC-Message-Signature" if field == "ams" else "ARC-Seal"
    changed: dict[str, tuple[str, Outcome]] = {
        "sc_wsp": (tags.replace(";", " \t;\r\n "), PASS),
        "tags_trail_sc": (tags + ";", PASS),
        "tags_unknown": (tags + "; zz=top", PASS),
        "inv_tag_key": (tags + "; 1x=y", FAIL),
        "tags_dup": (tags + "; s=rsa", FAIL),
        "tags_sc": (tags.replace("; {s}", ";; {s}"), FAIL),
    }
    cases: dict[str, Case] = {
        f"{prefix}_format_{what}": (varied({key: template}), expected)
        for what, (template, expected) in changed.items()
    }

    def later(old: bytes, new: bytes) -> Callable[[], bytes]:
        """Change the field of a message whose tags were signed in another form."""

        def made() -> bytes:
            message = one()
            start = message.index(name.encode())
            return message[:start] + message[start:].replace(old, new, 1)

        return made

    equals = tags.replace("{s}", "s = rsa")
    return cases | {
        f"{prefix}_format_eq_wsp": (varied({key: equals}), PASS),
        f"{prefix}_format_tags_key_case": (later(b"; d=", b"; D="), FAIL),
        f"{prefix}_format_tags_val_case": (later(b"; s=rsa", b"; s=RSA2"), FAIL),
        f"{prefix}_format_tags_wsp": (later(b"d=example", b"d=exa mple"), FAIL),
    }


def travelled(old: bytes, new: bytes, **kind: Any) -> Callable[[], bytes]:
    """A message of which something was changed after it was sealed."""

    def made() -> bytes:
        message = one(**kind)
        assert old in message
        return message.replace(old, new, 1)

    return made


def with_ams(**tags: str | None) -> Callable[[], bytes]:
    return lambda: one(ams=tags)


def with_seal(**tags: str | None) -> Callable[[], bytes]:
    return lambda: one(seal=tags)


def folded(message: bytes) -> bytes:
    """The base64 of the first signature of a message folded anew."""
    start = message.index(b" b=") + 3
    return (
        message[:start]
        + b"\r\n\t"
        + message[start : start + 50]
        + b"\r\n \t"
        + message[start + 50 :]
    )


def wrapped_hash() -> str:
    """The hash of the body, folded."""
    field = signature_field("X", HEADER).decode()
    value = field.split("bh=")[1].split(";")[0]
    return value[:10] + "\r\n " + value[10:]


REPEATED = b"X-A: first\r\n" + HEADER + b"X-A: second\r\n"

AMS_FIELDS: dict[str, Case] = {
    "i_dup1": (lambda: doubled(sets(1), AMS), FAIL),
    "i_dup2": (lambda: doubled(sets(1), AMS, lower=True), FAIL),
    "a_sha1": (with_ams(a="rsa-sha1"), FAIL),
    "a_na": (with_ams(a=None), FAIL),
    "a_empty": (with_ams(a=""), FAIL),
    "a_unknown": (with_ams(a="rsa-sha257"), FAIL),
    "b_ignores_wsp": (lambda: one(ams_change=folded), PASS),
    "b_head_case": (travelled(b"To: bob", b"TO: bob"), PASS),
    "b_head_unfold": (travelled(b"folded\r\n\t subject", b"folded subject"), PASS),
    "b_eol_wsp": (travelled(b"To: bob@example.net\r\n", b"To: bob@example.net \t\r\n"), PASS),
    "b_inl_wsp": (travelled(b"A  folded", b"A \t  folded"), PASS),
    "b_col_wsp": (travelled(b"To: bob", b"To \t:  bob"), PASS),
    "b_na": (with_ams(b=None), FAIL),
    "b_empty": (with_ams(b=""), FAIL),
    "b_base64": (with_ams(b="not base64!"), FAIL),
    "b_mod_sig": (with_ams(b="AAAA"), FAIL),
    "b_mod_headers1": (travelled(b"To: bob", b"To: eve"), FAIL),
    "b_mod_headers2": (travelled(b"Subject: A", b"Subject: B"), FAIL),
    "bh_ignores_wsp": (lambda: one(ams={"bh": wrapped_hash()}), PASS),
    "bh_sim_base": (with_ams(c="relaxed/simple"), PASS),
    "bh_sim_end_lines": (lambda: one(ams={"c": "relaxed/simple"}) + b"\r\n\r\n", PASS),
    "bh_sim_inl_wsp": (travelled(b"how  are", b"how are", ams={"c": "relaxed/simple"}), FAIL),
    "bh_rel_eol_wsp": (travelled(b"Bob,\r\n", b"Bob, \t\r\n"), PASS),
    "bh_rel_inl_wsp": (travelled(b"how  are", b"how are"), PASS),
    "bh_rel_end_lines": (lambda: one() + b"\r\n\r\n", PASS),
    "bh_rel_trail_crlf": (lambda: one().rstrip(b"\r\n"), PASS),
    "bh_na": (with_ams(bh=None), FAIL),
    "bh_empty": (with_ams(bh=""), FAIL),
    "bh_base64": (with_ams(bh="not base64!"), FAIL),
    "bh_mod_sig": (with_ams(bh="AAAA"), FAIL),
    "bh_mod_body": (travelled(b"Alice\r\n\r\n", b"Eve\r\n\r\n"), FAIL),
    "c_na": (with_ams(c=None), PASS),
    "c_empty": (with_ams(c=""), FAIL),
    "c_rr": (with_ams(c="relaxed/relaxed"), PASS),
    "c_rs": (with_ams(c="relaxed/simple"), PASS),
    "c_sr": (with_ams(c="simple/relaxed"), PASS),
    "c_ss": (with_ams(c="simple/simple"), PASS),
    "c_invalid": (with_ams(c="invalid/relaxed"), FAIL),
    "d_na": (with_ams(d=None), FAIL),
    "d_empty": (with_ams(d=""), FAIL),
    "d_invalid": (with_ams(d="not a domain"), FAIL),
    "h_empty": (with_ams(h=""), PASS),
    "h_cws1": (with_ams(h="from : to\t:subject"), PASS),
    "h_cws2": (with_ams(h="from:\r\n to :\r\n\tsubject"), PASS),
    "h_case": (with_ams(h="FROM:tO:Subject"), PASS),
    "h_dup1": (lambda: one(REPEATED, ams={"h": "from:x-a:x-a"}), PASS),
    "h_non_existant": (with_ams(h="from:x-none"), PASS),
    "h_mis_hdr": (with_ams(h="from::to"), PASS),
    "h_non_existant_dup": (with_ams(h="from:x-none:x-none"), PASS),
    "h_includes_ams": (lambda: two(ams={"h": f"{PLAIN_H}:arc-message-signature"}), PASS),
    "h_na": (with_ams(h=None), FAIL),
    "h_dup2": (lambda: one(REPEATED, ams={"h": "from:x-a:x-a"})
               .replace(b"first", b"1st", 1).replace(b"second", b"first", 1), FAIL),
    "h_order": (travelled(b"h=from:to", b"h=to:from"), FAIL),
    "h_empty_added": (lambda: b"X-None: now\r\n" + one(ams={"h": "from:x-none"}), FAIL),
    "h_includes_as": (with_ams(h=f"{PLAIN_H}:arc-seal"), FAIL),
    "s_na": (with_ams(s=None), FAIL),
    "s_empty": (with_ams(s=""), FAIL),
    "t_na": (with_ams(t=None), PASS),
    "t_empty": (with_ams(t=""), FAIL),
    "t_invalid": (with_ams(t="yesterday"), FAIL),
}  # fmt: skip


SEAL_FIELDS: dict[str, Case] = {
    "i_dup": (lambda: doubled(sets(1), SEAL), FAIL),
    "i_dup2": (lambda: doubled(sets(2), SEAL), FAIL),
    "i_missing": (lambda: two(seal={"i": "3"}), FAIL),
    "a_sha1": (with_seal(a="rsa-sha1"), FAIL),
    "a_na": (with_seal(a=None), FAIL),
    "a_empty": (with_seal(a=""), FAIL),
    "a_unknown": (with_seal(a="rsa-sha257"), FAIL),
    "b_ignores_wsp": (lambda: folded(sets(1)), PASS),
    "b_head_case": (travelled(b"ARC-Authentication-Results", b"arc-authentication-RESULTS"), PASS),
    "b_head_unfold": (travelled(b"; spf=pass", b";\r\n\tspf=pass"), PASS),
    "b_eol_wsp": (travelled(b"mailfrom=alice@example.org\r\n",
                            b"mailfrom=alice@example.org \t\r\n"), PASS),
    "b_inl_wsp": (travelled(b"; spf=pass", b"; \t  spf=pass"), PASS),
    "b_col_wsp": (travelled(b"ARC-Authentication-Results: ", b"ARC-Authentication-Results \t:  "),
                  PASS),
    "b_512": (with_seal(s="small"), FAIL),
    "b_1024": (with_seal(s="rsa"), PASS),
    "b_2048": (lambda: one(seal={"s": "large"}, seal_key=rsa_key(2048)), PASS),
    "b_na": (with_seal(b=None), FAIL),
    "b_empty": (with_seal(b=""), FAIL),
    "b_base64": (with_seal(b="not base64!"), FAIL),
    "b_mod_sig": (with_seal(b="AAAA"), FAIL),
    "b_aar1": (lambda: two({"ams": LOOSE}, ams=LOOSE)[::-1].replace(b"ssap=fps", b"liaf=fps", 1)[::-1], FAIL),
    "b_ams1": (lambda: sets(2)[::-1].replace(b"54321=t", b"64321=t", 1)[::-1], FAIL),
    "b_asb1": (lambda: sets(2).replace(b"cv=none", b"cv=None", 1), FAIL),
    "cv_na": (with_seal(cv=None), FAIL),
    "cv_empty": (with_seal(cv=""), FAIL),
    "cv_invalid": (with_seal(cv="good"), FAIL),
    "d_na": (with_seal(d=None), FAIL),
    "d_empty": (with_seal(d=""), FAIL),
    "d_invalid": (with_seal(d="not a domain"), FAIL),
    "h_present": (with_seal(h="from"), FAIL),
    "s_na": (with_seal(s=None), FAIL),
    "s_empty": (with_seal(s=""), FAIL),
    "t_na": (with_seal(t=None), PASS),
    "t_empty": (with_seal(t=""), FAIL),
    "t_invalid": (with_seal(t="yesterday"), FAIL),
}  # fmt: skip

RESULTS: dict[str, Case] = {
    "aar_struct_i_na": (lambda: one(results="lists.example.org; spf=pass"), FAIL),
    "aar_struct_i_empty": (lambda: one(results="i=; lists.example.org; spf=pass"), FAIL),
    "aar_struct_i_zero": (lambda: one(results="i=0; lists.example.org; spf=pass"), FAIL),
    "aar_struct_invalid": (lambda: one(results="i=x; lists.example.org; spf=pass"), FAIL),
    "aar_struct_dup": (lambda: doubled(sets(1), AAR), FAIL),
    "aar_struct_missing": (lambda: one(without="aar"), FAIL),
    "aar_missing": (lambda: one(without="aar", ams={"h": "from:to"}), FAIL),
    "aar_i_missing": (lambda: one(results="lists.example.org; none"), FAIL),
    "aar_i_wrong": (lambda: one(results="i=2; lists.example.org; none"), FAIL),
    "aar_i_not_prefixed": (lambda: one(results="lists.example.org; i=1; none"), FAIL),
    "aar_i_no_semi": (lambda: one(results="i=1 lists.example.org; none"), FAIL),
    "aar2_missing": (lambda: two(without="aar"), FAIL),
    "public_key_na": (with_seal(s="nobody"), FAIL),
    "public_key_invalid": (with_seal(s="broken"), FAIL),
    "ams_as_diff_s_d": (
        lambda: one(ams={"d": "other.test"}, seal={"s": "large"}, seal_key=rsa_key(2048)),
        PASS,
    ),
}

CASES: dict[str, Case] = {
    **CHAIN,
    **structure("ams", "ams"),
    **tag_format("ams", "ams"),
    **{f"ams_fields_{name}": case for name, case in AMS_FIELDS.items()},
    **structure("seal", "as"),
    **tag_format("seal", "as"),
    **{f"as_fields_{name}": case for name, case in SEAL_FIELDS.items()},
    **RESULTS,
}


def test_the_suite_is_whole() -> None:
    assert len(CASES) == 171


@pytest.mark.parametrize("name", CASES)
async def test_case_of_the_suite(name: str) -> None:
    make, expected = CASES[name]
    found = await chain(make())
    assert found.outcome is expected, found.reason
    assert bool(found.reason) is (expected is FAIL)
    assert bool(found.sealers) is (expected is PASS)


# What the suite does not ask


async def test_a_chain_that_passes_names_its_sealers_and_the_oldest_results() -> None:
    first = arc_set(1, results="i=1;\r\n\tlists.other.test; spf=pass\r\n\tsmtp.mailfrom=a@b.test",
                    seal={"d": "other.test"})  # fmt: skip
    found = await chain(arc_set(2, first) + b"\r\n" + BODY)
    assert found == Arc(
        PASS,
        (DOMAIN, "other.test"),
        "lists.other.test; spf=pass smtp.mailfrom=a@b.test",
    )
    changed = first.replace(b"Subject: A", b"Subject: [list] A")
    found = await chain(arc_set(3, arc_set(2, changed)) + b"\r\n" + BODY)
    assert (found.outcome, found.oldest_pass) == (PASS, 2)


async def test_the_newest_message_signature_must_hold_for_header_and_body() -> None:
    for message in (
        sets(3).replace(b"Subject: A", b"Subject: B"),
        sets(3) + b"more\r\n",
    ):
        found = await chain(message)
        assert found.outcome is FAIL
        assert found.reason.startswith("message signature 3: ")


async def test_a_lookup_that_fails_is_a_temporary_error() -> None:
    zone = KeyZone({f"away._domainkey.{DOMAIN}": None})
    for kind in ("ams", "seal"):
        found = await chain(varied({kind: {"s": "away"}})(), zone)
        assert (found.outcome, set(found.sealers)) == (Outcome.TEMPERROR, {DOMAIN})


async def test_the_last_sealer_says_that_the_chain_is_broken() -> None:
    found = await chain(two(seal={"cv": "fail"}))
    assert (found.outcome, found.reason) == (FAIL, "the last sealer found the chain broken")


async def test_more_sets_than_fifty_are_not_judged_and_fifty_cost_few_lookups() -> None:
    zone = KeyZone()
    found = await chain(sets(MOST_SETS), zone)
    assert (found.outcome, len(found.sealers)) == (PASS, MOST_SETS)
    assert found.oldest_pass == MOST_SETS - MOST_MESSAGE_SIGNATURES + 1
    assert zone.asked == [f"rsa._domainkey.{DOMAIN}"]
    header, body = split_message(sets(1))
    aar = b"".join(b"ARC-Authentication-Results: i=%d; x; none\r\n" % at for at in range(2, 60))
    found = await chain(aar + header + b"\r\n" + body)
    assert (found.outcome, found.reason) == (FAIL, "more than 50 sets")


async def test_the_results_that_are_kept_are_short_and_printable() -> None:
    message = one(results="i=1; x.test; \N{SNOWMAN}\x01 spf=pass " + "y" * 5000)
    found = await chain(message)
    assert found.outcome is PASS
    assert len(found.results) == RESULTS_LIMIT
    assert found.results.isascii() and found.results.isprintable()


SEALED = sets(2)


@given(st.integers(0, len(SEALED) - 1), st.integers(1, 255))
@settings(max_examples=150, deadline=None)
async def test_no_changed_byte_of_a_seal_passes(at: int, change: int) -> None:
    message = SEALED[:at] + bytes([SEALED[at] ^ change]) + SEALED[at + 1 :]
    found = await chain(message)
    if found.outcome is PASS:
        # fields that no message signature covers, white space, or the case of a name
        assert found.sealers == (DOMAIN, DOMAIN)
        header, _ = split_message(message)
        for name in (b"from: alice example <alice@example.org>", b"to: bob@example.net"):
            assert name in b" ".join(header.lower().split())


@given(
    st.lists(
        st.tuples(
            st.sampled_from([AMS, SEAL, AAR]),
            st.sampled_from([b"i=1", b"i=1;", b"i=50; x", b"i=51", b"; i=2; a=rsa-sha256", b"\xff"])
            | st.binary(max_size=40),
        ),
        max_size=9,
    )
)
@settings(max_examples=150)
async def test_no_header_raises(fields: list[tuple[bytes, bytes]]) -> None:
    header = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
    found = await chain(header + HEADER + b"\r\n" + BODY)
    assert found.outcome in (NONE, FAIL)
