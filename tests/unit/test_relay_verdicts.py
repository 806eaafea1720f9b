"""What verdicts come to."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from posthorn.model.blob_range import BodyLocation
from posthorn.model.outbound import Notice, Notify, QueueState
from posthorn.ports.queue import Job
from posthorn_relay.settings import RetrySettings
from posthorn_relay.transport import Accepted, Failed
from posthorn_relay.verdicts import Judge

NOW = 1_700_000_000.0
MESSAGE = UUID(int=1)
JOB = Job(
    id=7,
    message=MESSAGE,
    recipient="bob@sink.test",
    reverse_path="alice@example.test",
    sender="alice@example.test",
    original="",
    orcpt="",
    notify=Notify.UNSAID,
    attempts=0,
    created_at=datetime.fromtimestamp(NOW - 60, UTC),
    expires_at=datetime.fromtimestamp(NOW + 600, UTC),
    suppressed=False,
    smtputf8=False,
    ret="",
    envid="",
    signature="",
    location=BodyLocation(MESSAGE, "segments/1", 0, 10, "identity", 10, False),
    return_path_octets=0,
    tenant=None,
)


def failed(stage: str, code: int, status: str, permanent: bool) -> Failed:
    return Failed(stage, code, status, f"{code} {status} words", permanent, "mx (192.0.2.1)", "TLSv1.3")


@pytest.fixture
def judge() -> Judge:
    return Judge(RetrySettings(), clock=lambda: NOW, chance=lambda: 0.5)


def job(**changes: Any) -> Job:
    return replace(JOB, **changes)


@pytest.mark.parametrize(
    ("verdict", "state"),
    [
        (failed("rcpt", 550, "5.1.1", True), QueueState.BOUNCED),
        (failed("rcpt", 450, "4.2.1", False), QueueState.DEFERRED),
        (failed("end", 554, "5.6.0", True), QueueState.BOUNCED),
        (failed("end", 0, "4.4.2", False), QueueState.DEFERRED),
        (failed("greeting", 554, "5.3.2", True), QueueState.DEFERRED),
        (failed("auth", 535, "5.7.8", True), QueueState.DEFERRED),
        (failed("dns", 0, "5.1.2", True), QueueState.BOUNCED),
        (failed("dns", 0, "4.4.3", False), QueueState.DEFERRED),
    ],
)
def test_permanent_and_transient_are_told_apart_by_stage_and_code(
    judge: Judge, verdict: Failed, state: QueueState
) -> None:
    outcome = judge.outcome(JOB, verdict)
    assert outcome.state is state
    assert outcome.status[0] == ("5" if state is QueueState.BOUNCED else "4")
    assert (outcome.host, outcome.reply, outcome.tls) == (verdict.host, verdict.reply, verdict.tls)


@pytest.mark.parametrize(("attempts", "pause"), [(0, 300), (1, 600), (5, 9600), (50, 14400)])
def test_the_pause_grows_with_the_attempts(judge: Judge, attempts: int, pause: float) -> None:
    assert judge.outcome(job(attempts=attempts), failed("rcpt", 450, "4.2.1", False)).retry_in == pause


def test_no_attempt_is_planned_before_the_lane_opens(judge: Judge) -> None:
    assert judge.outcome(JOB, failed("connect", 0, "4.4.1", False), least=3000).retry_in == 3000


@pytest.mark.parametrize("attempts", [0, 30])
def test_a_fault_of_ours_is_no_attempt(judge: Judge, attempts: int) -> None:
    outcome = judge.hindered(job(attempts=attempts), "the store is away")
    assert (outcome.state, outcome.retry_in) == (QueueState.QUEUED, 20)
    assert (outcome.status, outcome.reply, outcome.host, outcome.notice) == ("4.3.0", "the store is away", "", None)


def test_after_its_time_a_passing_failure_is_the_end(judge: Judge) -> None:
    late = job(expires_at=datetime.fromtimestamp(NOW - 1, UTC))
    outcome = judge.outcome(late, failed("rcpt", 450, "4.2.1", False))
    assert (outcome.state, outcome.status, outcome.notice) == (QueueState.BOUNCED, "4.4.7", Notice.FAILED)
    assert outcome.reply == "450 4.2.1 words"


@pytest.mark.parametrize(
    ("stage", "code", "status", "suppressed"),
    [
        ("rcpt", 550, "5.1.1", True),
        ("rcpt", 550, "5.1.10", True),
        ("rcpt", 550, "5.2.1", True),
        ("rcpt", 550, "5.7.1", False),
        ("rcpt", 550, "5.0.0", False),
        ("rcpt", 0, "5.1.3", False),
        ("end", 550, "5.1.1", False),
        ("dns", 0, "5.1.10", False),
    ],
)
def test_an_address_is_suppressed_when_its_host_says_that_it_is_none(
    judge: Judge, stage: str, code: int, status: str, suppressed: bool
) -> None:
    assert bool(judge.outcome(JOB, failed(stage, code, status, True)).suppress) is suppressed


@pytest.mark.parametrize(
    ("sender", "notify", "notice"),
    [
        ("alice@example.test", Notify.UNSAID, Notice.FAILED),
        ("alice@example.test", Notify.FAILURE, Notice.FAILED),
        ("alice@example.test", Notify.NEVER, None),
        ("alice@example.test", Notify.SUCCESS, None),
        ("", Notify.UNSAID, None),
        ("", Notify.FAILURE, None),
    ],
)
def test_a_bounce_is_told_to_who_wants_it_and_never_to_nobody(
    judge: Judge, sender: str, notify: Notify, notice: Notice | None
) -> None:
    outcome = judge.outcome(job(sender=sender, notify=notify), failed("rcpt", 550, "5.1.1", True))
    assert outcome.notice is notice
    assert judge.suppressed(job(sender=sender, notify=notify)).notice is notice


@pytest.mark.parametrize(
    ("reply", "status"),
    [("250 2.6.0 taken", "2.6.0"), ("250 taken", "2.0.0"), ("250", "2.0.0"), ("250 2.x.y z", "2.0.0")],
)
def test_a_delivery_keeps_the_status_of_the_reply(judge: Judge, reply: str, status: str) -> None:
    outcome = judge.outcome(JOB, Accepted(reply, "mx", "", dsn=False))
    assert (outcome.state, outcome.status, outcome.suppress) == (QueueState.DELIVERED, status, "")
