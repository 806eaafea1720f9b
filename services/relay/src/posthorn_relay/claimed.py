"""The jobs of one claim: each gets exactly one result, and this is where it is settled."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from uuid import UUID

import structlog
from prometheus_client import Counter, Histogram

from posthorn.model.events import BOUNCED, DEFERRED, DELIVERED, Event
from posthorn.model.outbound import QueueState
from posthorn.ports.events import Events
from posthorn.ports.queue import Due, Job, Outcome
from posthorn_relay.mail_providers import count_attempt
from posthorn_relay.outcomes import OutcomePolicy, Released, Result
from posthorn_relay.recorder import OutcomeRecorder
from posthorn_relay.smtp.types import Accepted, Failed

log = structlog.get_logger()

_attempts = Counter(
    "posthorn_relay_attempts_total",
    "Recipients tried, by the resulting state and the stage that decided it",
    ["result", "stage"],
)
_latency = Histogram(
    "posthorn_relay_delivery_seconds",
    "From a recipient's entry into the queue to the remote host's 250",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3600, 14400, 86400, 432000),
)
_first = Histogram(
    "posthorn_relay_first_attempt_seconds",
    "From a recipient's entry into the queue to the result of its first attempt",
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200),
)
_EVENT_KINDS = {
    QueueState.DELIVERED: DELIVERED,
    QueueState.DEFERRED: DEFERRED,
    QueueState.QUEUED: DEFERRED,  # by a local fault
    QueueState.BOUNCED: BOUNCED,
}


class ClaimedJobs:
    """The jobs of one claim that have no result yet."""

    def __init__(
        self,
        jobs: Iterable[Job],
        due: Due,
        relay: UUID,
        policy: OutcomePolicy,
        recorder: OutcomeRecorder,
        events: Events,
    ) -> None:
        self._open = {job.id: job for job in jobs}
        self._due = due
        self._relay = relay
        self._policy = policy
        self._recorder = recorder
        self._events = events

    @property
    def open(self) -> Sequence[Job]:
        """The jobs without a result, in the order of the claim."""
        return list(self._open.values())

    def drop(self) -> None:
        """Give no more results: the jobs are not this relay's any more, or whoever cancels
        releases them."""
        self._open.clear()

    def settle(self, job: Job, result: Result, *, min_pause_seconds: float = 0.0) -> None:
        """Record the outcome of a job that has none yet."""
        del self._open[job.id]
        outcome = self._policy.outcome_of(job, result, min_pause_seconds=min_pause_seconds)
        self._recorder.put(self._relay, outcome)
        if not isinstance(result, Released):
            self._report(job, result, outcome)

    def settle_all(
        self, jobs: Iterable[Job], result: Result, *, min_pause_seconds: float = 0.0
    ) -> None:
        """Record the same result for those of the jobs that have none yet."""
        for job in jobs:
            if job.id in self._open:
                self.settle(job, result, min_pause_seconds=min_pause_seconds)

    def _report(self, job: Job, result: Result, outcome: Outcome) -> None:
        stage = (
            result.stage
            if isinstance(result, Failed)
            else "end"
            if isinstance(result, Accepted)
            else "ours"
        )
        _attempts.labels(outcome.state.value, stage).inc()
        if isinstance(result, Accepted | Failed):
            count_attempt(result)
        now = time.time()
        if job.attempts == 0:
            _first.observe(max(0.0, now - job.created_at.timestamp()))
        if outcome.state is QueueState.DELIVERED:
            _latency.observe(max(0.0, now - job.created_at.timestamp()))
        log.info(
            outcome.state.value,
            message=str(job.message),
            destination=self._due.destination,
            host=outcome.host,
            reply=outcome.reply,
            tls=outcome.tls,
            attempt=job.attempts + 1,
        )
        detail: dict[str, object] = {
            "recipient": job.recipient,
            "host": outcome.host,
            "reply": outcome.reply,
            "tls": outcome.tls,
        }
        if job.original:
            detail["original"] = job.original
        if self._due.route is not None and isinstance(result, Accepted | Failed):
            detail["route"] = self._due.route.domain
        if outcome.retry_in:
            detail["next_attempt_at"] = round(now + outcome.retry_in, 3)
        if outcome.state is QueueState.BOUNCED:
            detail["status"] = outcome.status
        self._events.record(Event(job.message, now, _EVENT_KINDS[outcome.state], detail))
