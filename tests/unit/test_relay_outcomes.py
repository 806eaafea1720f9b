"""The outcome of each result, and the settling of claimed jobs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import pytest

from posthorn.model.blob_range import BodyLocation
from posthorn.model.events import BOUNCED, DEFERRED, DELIVERED, Event
from posthorn.model.outbound import Notify, QueueState
from posthorn.ports.queue import Due, Job, Outcome, Route
from posthorn.wire.message.dsn import Action
from posthorn_relay.claimed import ClaimedJobs
from posthorn_relay.outcomes import LocalFault, OutcomePolicy, Released, Suppressed
from posthorn_relay.recorder import OutcomeRecorder
from posthorn_relay.settings import RetrySettings
from posthorn_relay.smtp.types import Accepted, Failed

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
DUE = Due("sink.test", None)


def failed(stage: str, code: int, status: str, permanent: bool) -> Failed:
    return Failed(
        stage, code, status, f"{code} {status} words", permanent, "mx (192.0.2.1)", "TLSv1.3"
    )


@pytest.fixture
def policy() -> OutcomePolicy:
    return OutcomePolicy(RetrySettings(), clock=lambda: NOW, chance=lambda: 0.5)


def job(**changes: Any) -> Job:
    return replace(JOB, **changes)


@pytest.mark.parametrize(
    ("result", "state"),
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
    policy: OutcomePolicy, result: Failed, state: QueueState
) -> None:
    outcome = policy.outcome_of(JOB, result)
    assert outcome.state is state
    assert outcome.status[0] == ("5" if state is QueueState.BOUNCED else "4")
    assert (outcome.host, outcome.reply, outcome.tls) == (result.host, result.reply, result.tls)


@pytest.mark.parametrize(("attempts", "pause"), [(0, 300), (1, 600), (5, 9600), (50, 14400)])
def test_the_pause_grows_with_the_attempts(
    policy: OutcomePolicy, attempts: int, pause: float
) -> None:
    assert (
        policy.outcome_of(job(attempts=attempts), failed("rcpt", 450, "4.2.1", False)).retry_in
        == pause
    )


def test_no_attempt_is_planned_before_the_next_hop_opens(policy: OutcomePolicy) -> None:
    assert (
        policy.outcome_of(
            JOB, failed("connect", 0, "4.4.1", False), min_pause_seconds=3000
        ).retry_in
        == 3000
    )


@pytest.mark.parametrize("attempts", [0, 30])
def test_a_fault_of_ours_is_no_attempt(policy: OutcomePolicy, attempts: int) -> None:
    outcome = policy.outcome_of(job(attempts=attempts), LocalFault("the store is away"))
    assert (outcome.state, outcome.retry_in) == (QueueState.QUEUED, 20)
    assert (outcome.status, outcome.reply, outcome.host, outcome.notice) == (
        "4.3.0",
        "the store is away",
        "",
        None,
    )


def test_after_its_time_a_passing_failure_is_the_end(policy: OutcomePolicy) -> None:
    late = job(expires_at=datetime.fromtimestamp(NOW - 1, UTC))
    outcome = policy.outcome_of(late, failed("rcpt", 450, "4.2.1", False))
    assert (outcome.state, outcome.status, outcome.notice) == (
        QueueState.BOUNCED,
        "4.4.7",
        Action.FAILED,
    )
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
    policy: OutcomePolicy, stage: str, code: int, status: str, suppressed: bool
) -> None:
    assert bool(policy.outcome_of(JOB, failed(stage, code, status, True)).suppress) is suppressed


@pytest.mark.parametrize(
    ("sender", "notify", "notice"),
    [
        ("alice@example.test", Notify.UNSAID, Action.FAILED),
        ("alice@example.test", Notify.FAILURE, Action.FAILED),
        ("alice@example.test", Notify.NEVER, None),
        ("alice@example.test", Notify.SUCCESS, None),
        ("", Notify.UNSAID, None),
        ("", Notify.FAILURE, None),
    ],
)
def test_a_bounce_is_told_to_who_wants_it_and_never_to_nobody(
    policy: OutcomePolicy, sender: str, notify: Notify, notice: Action | None
) -> None:
    outcome = policy.outcome_of(
        job(sender=sender, notify=notify), failed("rcpt", 550, "5.1.1", True)
    )
    assert outcome.notice is notice
    assert policy.outcome_of(job(sender=sender, notify=notify), Suppressed()).notice is notice


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        ("250 2.6.0 taken", "2.6.0"),
        ("250 taken", "2.0.0"),
        ("250", "2.0.0"),
        ("250 2.x.y z", "2.0.0"),
    ],
)
def test_a_delivery_keeps_the_status_of_the_reply(
    policy: OutcomePolicy, reply: str, status: str
) -> None:
    outcome = policy.outcome_of(JOB, Accepted(reply, "mx", "", dsn=False))
    assert (outcome.state, outcome.status, outcome.suppress) == (QueueState.DELIVERED, status, "")


def test_an_error_of_our_own_counts_as_an_attempt_and_expires_in_the_end(
    policy: OutcomePolicy,
) -> None:
    fault = LocalFault("an internal error", is_attempt=True)
    outcome = policy.outcome_of(job(attempts=1), fault)
    assert (outcome.state, outcome.retry_in, outcome.status) == (QueueState.DEFERRED, 600, "4.3.0")
    late = policy.outcome_of(job(expires_at=datetime.fromtimestamp(NOW - 1, UTC)), fault)
    assert (late.state, late.status, late.reply) == (
        QueueState.BOUNCED,
        "4.4.7",
        "an internal error",
    )


def test_what_is_released_is_queued_as_it_was(policy: OutcomePolicy) -> None:
    assert policy.outcome_of(job(attempts=3), Released()) == Outcome(JOB.id, QueueState.QUEUED)


class _Recorded:
    """Stands in for the recorder and the event stream: what they are given."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.events: list[Event] = []

    def put(self, relay: UUID, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def record(self, *events: Event) -> None:
        self.events.extend(events)


def test_every_claimed_job_gets_one_outcome_and_only_attempts_are_events(
    policy: OutcomePolicy,
) -> None:
    recorded = _Recorded()
    jobs = [job(id=number, recipient=f"r{number}@sink.test") for number in range(4)]
    claimed = ClaimedJobs(jobs, DUE, MESSAGE, policy, cast(OutcomeRecorder, recorded), recorded)
    claimed.settle(jobs[1], Accepted("250 2.0.0 taken", "mx", "", dsn=False))
    with pytest.raises(KeyError):
        claimed.settle(jobs[1], Suppressed())
    claimed.settle_all(jobs[:2], LocalFault("the store is away"))
    assert [one.id for one in claimed.open] == [2, 3]
    claimed.settle(jobs[2], failed("rcpt", 550, "5.1.1", True))
    claimed.settle_all(claimed.open, Released())
    assert list(claimed.open) == []
    assert [(one.job, one.state) for one in recorded.outcomes] == [
        (1, QueueState.DELIVERED),
        (0, QueueState.QUEUED),
        (2, QueueState.BOUNCED),
        (3, QueueState.QUEUED),
    ]
    assert [(event.kind, event.detail["recipient"]) for event in recorded.events] == [
        (DELIVERED, "r1@sink.test"),
        (DEFERRED, "r0@sink.test"),
        (BOUNCED, "r2@sink.test"),
    ]


def test_the_route_is_named_where_it_was_tried(policy: OutcomePolicy) -> None:
    recorded = _Recorded()
    jobs = [job(id=number, recipient=f"r{number}@sink.test") for number in range(5)]
    due = Due("sink.test", Route("*", host="smart.test"))
    claimed = ClaimedJobs(jobs, due, MESSAGE, policy, cast(OutcomeRecorder, recorded), recorded)
    claimed.settle(jobs[0], Accepted("250 2.0.0 taken", "mx", "", dsn=False))
    claimed.settle(jobs[1], failed("rcpt", 450, "4.2.1", False))
    claimed.settle(jobs[2], failed("rcpt", 550, "5.1.1", True))
    claimed.settle(jobs[3], Suppressed())
    claimed.settle(jobs[4], LocalFault("the store is away"))
    assert [(event.kind, event.detail.get("route")) for event in recorded.events] == [
        (DELIVERED, "*"),
        (DEFERRED, "*"),
        (BOUNCED, "*"),
        (BOUNCED, None),
        (DEFERRED, None),
    ]


def test_dropped_jobs_get_no_outcome(policy: OutcomePolicy) -> None:
    recorded = _Recorded()
    claimed = ClaimedJobs([JOB], DUE, MESSAGE, policy, cast(OutcomeRecorder, recorded), recorded)
    claimed.drop()
    claimed.settle_all([JOB], Released())
    assert (recorded.outcomes, recorded.events) == ([], [])
