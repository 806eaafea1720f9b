"""Spans of attempts to send messages."""

from __future__ import annotations

from collections.abc import Sequence

from posthorn.ports.queue import Job
from posthorn.runtime import traces
from posthorn_relay.mail_providers import provider_of
from posthorn_relay.smtp.types import Accepted, SmtpResult


def trace_attempt(
    tracer: traces.Tracer, jobs: Sequence[Job], began: int, results: Sequence[SmtpResult]
) -> None:
    """Record the span of one transaction with one host, for recipients of one message that is
    sampled. ``results``: of each recipient, or one of all. ``began``: nanoseconds since the
    epoch."""
    job = jobs[0]
    if not tracer.samples(job.message):
        return
    failed = next((each for each in results if not isinstance(each, Accepted)), None)
    worst = results[0] if failed is None else failed
    about: dict[str, traces.Value] = {
        traces.DESTINATION: traces.domain_of(job.recipient),
        traces.NEXT_HOP: worst.host.partition(" ")[0],
        traces.PROVIDER: provider_of(worst.host),
        traces.RECIPIENTS: len(jobs),
        traces.TRIES: job.attempts + 1,
        traces.REPLY_CODE: 250 if failed is None else failed.code,
    }
    fault = ""
    if failed is not None:
        about[traces.STAGE] = failed.stage
        about[traces.STATUS] = failed.status
        fault = f"{failed.code // 100}xx" if failed.code else failed.stage
    tracer.span(traces.ATTEMPT, job.message, began, about, fault=fault)
