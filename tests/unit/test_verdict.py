"""The encoding of verdicts in ingest records and message rows."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from posthorn.model.envelope import Body, Envelope, RecordError, decode_record, encode_record
from posthorn.model.verdict import (
    Engine,
    EngineState,
    ReportKind,
    Rule,
    Verdict,
    VerdictError,
    decode_verdict,
    encode_verdict,
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

FULL = Verdict(
    12.5,
    Authentication(
        Iprev(Outcome.PASS, "mail.example.com"),
        (Spf(Outcome.NONE, "helo", "mail.example.com"), Spf(Outcome.FAIL, "mailfrom", "", "-all")),
        (Dkim(Outcome.PASS, "example.com", "s1", "", "rsa-sha256", 2048, "AbCdEfGh", True),),
        Dmarc(
            Outcome.FAIL,
            "news.example.com",
            "example.com",
            "example.com",
            Policy.REJECT,
            Policy.QUARANTINE,
            True,
            False,
            True,
            "t=y",
            ("mailto:d@example.com",),
        ),
        Arc(Outcome.PASS, ("lists.test",), "lists.test; dmarc=pass", "", 2),
    ),
    (Rule("DMARC_FAIL", 3.5, "t=y"), Rule("DNSWL", -1.0)),
    (
        Engine("builtin", EngineState.OK, 3),
        Engine("clamav", EngineState.TOO_LARGE, 0, "over 25 MiB"),
    ),
    "Eicar",
    False,
    True,
    "lists.test",
    ReportKind.DMARC,
)


@pytest.mark.parametrize("verdict", [FULL, Verdict(1.0)])
def test_a_verdict_comes_back_as_it_was(verdict: Verdict) -> None:
    assert decode_verdict(json.loads(json.dumps(encode_verdict(verdict)))) == verdict
    assert FULL.score == 2.5


def test_fields_of_a_later_release_are_ignored() -> None:
    document = json.loads(json.dumps(encode_verdict(FULL)))
    document["colour"] = "red"
    document["auth"]["iprev"]["colour"] = "red"
    document["rules"][0].append("more")
    document["engines"][0].append("more")
    assert decode_verdict(document) == FULL


def test_what_one_document_says_of_its_values_is_not_read_into_another() -> None:
    document = json.loads(json.dumps(encode_verdict(FULL)))
    for name in ("iprev", "dmarc", "arc"):
        document["auth"][name]["later"] = {"more": [1]}
    document["auth"]["spf"][0]["later"] = [[1], {}]
    assert decode_verdict(document) == FULL
    document["auth"]["dmarc"]["report_to"] = ["other@example.com"]
    document["auth"]["iprev"]["name"] = ""
    found = decode_verdict(document).authentication
    assert (found.dmarc.report_to, found.iprev.name) == (("other@example.com",), "")


def test_an_encoding_is_the_callers_own_and_a_changed_verdict_has_another() -> None:
    first = encode_verdict(FULL)
    first["filed"] = {}
    assert "filed" not in encode_verdict(FULL)
    assert encode_verdict(replace(FULL, virus="Other"))["virus"] == "Other"
    assert replace(FULL) == FULL
    assert hash(replace(FULL)) == hash(FULL)
    assert "document" not in repr(FULL)


def test_words_of_a_later_release_conclude_nothing() -> None:
    document = {
        "at": 1,
        "auth": {
            "iprev": {"outcome": "perhaps"},
            "dmarc": {"outcome": "perhaps", "published": "burn", "applied": "burn"},
        },
        "engines": [["a", "asleep", 1, ""]],
        "report": "weather",
    }
    assert decode_verdict(document) == Verdict(
        1.0,
        Authentication(
            Iprev(Outcome.TEMPERROR),
            dmarc=Dmarc(Outcome.TEMPERROR, published=Policy.NONE, applied=Policy.NONE),
        ),
        engines=(Engine("a", EngineState.DOWN, 1),),
    )


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"at": 1},
        {"at": "x", "auth": {}},
        {"at": 1, "auth": []},
        {"at": 1, "auth": {"iprev": {"outcome": []}}},
        {"at": 1, "auth": {}, "rules": [["A"]]},
        {"at": 1, "auth": {}, "engines": [["a", "ok", "soon", ""]]},
        {"at": 1, "auth": {}, "report": 7, "rules": 7},
    ],
)
def test_what_is_no_verdict_does_not_read(document: dict[str, Any]) -> None:
    with pytest.raises(VerdictError):
        decode_verdict(document)


def test_a_record_carries_its_verdict() -> None:
    body = b"Subject: x\r\n\r\nx\r\n"
    envelope = Envelope(
        UUID(int=7), 1.0, "a@b.test", ("c@d.test",), Body.from_message(body), verdict=FULL
    )
    record = encode_record(envelope, body)
    assert decode_record(record).envelope.verdict == FULL
    broken = record.replace(b'"outcome":"pass"', b'"outcome":[]', 1)
    with pytest.raises(RecordError):
        decode_record(broken)
