"""What an envelope may claim, by the subject it was published under."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest

from posthorn.model.authority import ForgedEnvelopeError, admitted
from posthorn.model.envelope import Envelope, Record
from posthorn.model.streams import LEGACY_SUBJECT, ingest_subject, role_of_subject
from tests.support.builders import make_envelope

MX = make_envelope()
SUBMITTED = replace(
    MX, role="submission", submitter="alice@example.test", tenant=uuid4(), signer="example.test"
)
SENT = replace(SUBMITTED, role="send", submitter="key:billing")
NOTICE = replace(MX, role="notice", reverse_path="", tenant=uuid4())


@pytest.mark.parametrize("envelope", [MX, SUBMITTED, SENT, NOTICE], ids=lambda each: each.role)
def test_each_role_is_admitted_under_its_own_subject_in_every_lane(envelope: Envelope) -> None:
    record = Record(envelope, b"")
    subject = ingest_subject(envelope.role)
    assert role_of_subject(subject) == envelope.role
    assert admitted(record, subject) is record
    assert admitted(record, subject.replace("ingest.", "retry.")) is record
    assert admitted(record, LEGACY_SUBJECT) is record


@pytest.mark.parametrize("envelope", [SUBMITTED, SENT, NOTICE], ids=lambda each: each.role)
def test_no_other_role_is_admitted_under_the_subject_of_the_mx(envelope: Envelope) -> None:
    with pytest.raises(
        ForgedEnvelopeError, match=f"ingest.mx, the envelope claims the role {envelope.role}"
    ):
        admitted(Record(envelope, b""), "ingest.mx")


@pytest.mark.parametrize(
    ("envelope", "claim"),
    [
        (replace(MX, signer="bank.test"), "a signer"),
        (replace(MX, submitter="alice@example.test"), "a submitter"),
        (replace(MX, tenant=uuid4()), "a tenant"),
        (replace(NOTICE, signer="bank.test"), "a signer"),
        (replace(NOTICE, reverse_path="ceo@bank.test"), "a reverse-path"),
        (replace(MX, blob="segments/0192"), "the body of another message"),
        (replace(MX, blob=f"bodies/{uuid4()}"), "the body of another message"),
        (replace(SUBMITTED, blob="segments/0192"), "the body of another message"),
    ],
)
def test_a_claim_beyond_the_subject_is_refused(envelope: Envelope, claim: str) -> None:
    with pytest.raises(ForgedEnvelopeError, match=claim):
        admitted(Record(envelope, None), ingest_subject(envelope.role))


def test_a_body_stored_for_the_message_itself_is_admitted() -> None:
    for envelope in (MX, SUBMITTED, SENT):
        stored = replace(envelope, blob=f"bodies/{envelope.id}")
        assert admitted(Record(stored, None), ingest_subject(envelope.role)).envelope is stored


def test_the_subject_of_an_older_release_lends_nobody_another_body() -> None:
    with pytest.raises(ForgedEnvelopeError, match="body of another"):
        admitted(Record(replace(MX, blob="segments/0192"), None), LEGACY_SUBJECT)


@pytest.mark.parametrize("subject", ["ingest.send", "ingest.", "dead.0x", "ingest.MX"])
def test_a_subject_of_no_role_is_refused(subject: str) -> None:
    with pytest.raises(ForgedEnvelopeError, match="belongs to no role"):
        admitted(Record(MX, b""), subject)
