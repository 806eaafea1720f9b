"""Replies by what the scanning tier found: one line that says why, whatever strangers put in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from posthorn.model.filter_decision import Decision
from posthorn.model.filter_policy import Action
from posthorn.model.verdict import Rule, Verdict
from posthorn.ports.scan import Listing
from posthorn.wire.auth.results import Authentication, Dmarc
from posthorn_smtp_in.scan_replies import REFUSED_BY_VERDICT, listed, refused_by

ID = "0190aaaa-bbbb-7ccc-8ddd-eeeeffff0000"


@given(
    st.sampled_from(REFUSED_BY_VERDICT),
    st.text(max_size=3000),
    st.lists(st.tuples(st.text(max_size=300), st.floats(-99, 99)), max_size=9),
)
def test_a_refusal_is_one_line_that_ends_with_the_id(
    reason: str, text: str, rules: list[tuple[str, float]]
) -> None:
    verdict = Verdict(
        1.0,
        Authentication(dmarc=Dmarc(domain=text)),
        tuple(Rule(name, points) for name, points in rules),
        virus=text,
    )
    reply = refused_by(Decision(Action.REFUSE, reason, 99.0, text), verdict, ID)
    assert (reply.code, reply.kind) == (550, reason)
    assert reply.text.endswith(f"; message {ID}")
    assert reply.octets.count(b"\n") == 1
    assert len(reply.octets) < 400, "RFC 5321 §4.5.3.1.5 allows 512"


@given(st.text(max_size=900), st.text(max_size=900), st.text(max_size=900))
def test_a_listing_is_told_in_one_line(zone: str, subject: str, reason: str) -> None:
    reply = listed(Listing(zone, subject, "127.0.0.2", 4.0, reason), ID)
    assert (reply.code, reply.status, reply.kind) == (550, "5.7.1", "listed")
    assert reply.octets.count(b"\n") == 1
    assert len(reply.octets) < 512


def test_no_entry_of_a_recipient_s_list_is_told() -> None:
    decision = Decision(Action.REFUSE, "blocked", 0.0, "rival.example")
    assert "rival" not in refused_by(decision, Verdict(1.0), ID).text
