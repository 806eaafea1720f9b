"""Questions to the scanning tier and its answers as bytes."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn.adapters.nats.scan_payloads import (
    MOST_REPORTS,
    PayloadError,
    decode_facts,
    decode_message_question,
    decode_reports,
    decode_sender_question,
    decode_verdict_answer,
    encode_error,
    encode_facts,
    encode_message_question,
    encode_reports,
    encode_sender_question,
    encode_verdict_answer,
)
from posthorn.model.verdict import Engine, EngineState, Rule, Verdict
from posthorn.ports.scan import (
    Listing,
    MessageQuestion,
    Report,
    SenderFacts,
    SenderQuestion,
)
from posthorn.wire.auth.results import Iprev, Outcome, Spf

FACTS = SenderFacts(
    iprev=Iprev(Outcome.PASS, "mail.example.org"),
    spf=(Spf(Outcome.PASS, "helo", "mail.example.org"), Spf(Outcome.NONE, "mailfrom", "x.test")),
    listings=(Listing("bl.test", "192.0.2.1", "127.0.0.4", 3.5, "why"),),
    greylist_seconds=60,
)
QUESTION = MessageQuestion(
    message_id="id",
    client="192.0.2.1",
    helo="mail.example.org",
    reverse_path="",
    recipients=("a@example.test", "b@example.test"),
    received_at=12.5,
    hostname="mx.example.test",
    content=b"Subject: {\n}\r\n\r\nbody\n",
    size=22,
    facts=FACTS,
    engines=frozenset({"clamav"}),
    smtputf8=True,
)


def test_questions_come_back_as_they_were() -> None:
    sender = SenderQuestion("192.0.2.1", "host", "a@b.test", greylist=True, recipient="c@d.test")
    assert decode_sender_question(encode_sender_question(sender, 2.0)) == (sender, 2.0)
    assert decode_message_question(encode_message_question(QUESTION, 10.0)) == (QUESTION, 10.0)
    stored = MessageQuestion("id", "::1", "h", "p", (), 0.0, "mx", blob="bodies/id", size=9)
    assert decode_message_question(encode_message_question(stored, 1.0)) == (stored, 1.0)
    with pytest.raises(ValueError, match="either"):
        encode_message_question(MessageQuestion("id", "::1", "h", "p", (), 0.0, "mx"), 1.0)


def test_answers_come_back_as_they_were() -> None:
    assert decode_facts(encode_facts(FACTS)) == FACTS
    assert decode_facts(encode_facts(SenderFacts())) == SenderFacts()
    verdict = Verdict(
        1.5,
        rules=(Rule("A", 2.0, "x"),),
        engines=(Engine("clamav", EngineState.DOWN, 3),),
        is_complete=False,
        hold=True,
        defer=True,
    )
    assert decode_verdict_answer(encode_verdict_answer(verdict)) == verdict
    for decode in (decode_facts, decode_verdict_answer):
        with pytest.raises(PayloadError, match="too bad"):
            decode(encode_error("too bad"))


def test_a_reader_ignores_what_a_later_release_adds() -> None:
    line, _, content = encode_message_question(QUESTION, 1.0).partition(b"\n")
    later = json.dumps({**json.loads(line), "v": 2, "new": [1]}).encode() + b"\n" + content
    assert decode_message_question(later)[0] == QUESTION


def test_reports_are_bounded() -> None:
    reports = [Report("192.0.2.1", "refused", 3), Report("::1", "connection")]
    assert decode_reports(encode_reports(reports)) == reports
    many = encode_reports([Report("192.0.2.1", "refused")] * (MOST_REPORTS + 1))
    assert len(decode_reports(many)) == MOST_REPORTS
    assert decode_reports(encode_reports([Report("a", "b", -5)])) == [Report("a", "b", 1)]


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@given(
    st.binary()
    | st.dictionaries(
        st.sampled_from(
            ["v", "facts", "verdict", "error", "ip", "helo", "from", "wait", "to", "reports", "at"]
        ),
        _VALUES,
    ).map(lambda document: json.dumps(document).encode() + b"\n")
)
def test_nothing_but_a_payload_error_comes_of_rubbish(payload: bytes) -> None:
    for decode in (
        decode_sender_question,
        decode_message_question,
        decode_facts,
        decode_verdict_answer,
        decode_reports,
    ):
        with suppress(PayloadError):
            decode(payload)
