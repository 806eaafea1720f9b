"""From the result of an attempt to the outcome that the queue records.

Rules:

- A reply counts by its class: 4yz is tried again, 5yz is final (RFC 5321 §4.2.1). A reply that is
  about the host as a whole is never final, whatever its code: a host may greet with 554 for an
  hour.
- What fails after its expiry has failed for good, with 4.4.7 (RFC 3463) and the last reply.
- An address is suppressed when its host says explicitly that there is no such mailbox (X.1.1,
  X.1.6, X.1.10, X.2.1) in reply to RCPT; a bare 550 may be about us.
- A local fault, such as a blob store that does not answer, is no attempt: it changes neither the
  retry schedule nor the state of the host.
- The null reverse-path gets no DSN.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from posthorn.model.outbound import QueueState, RecipientDsn
from posthorn.model.retry import Schedule
from posthorn.ports.queue import EXPIRED, Job, Outcome
from posthorn.wire.message.dsn import Action
from posthorn.wire.smtp.client_replies import printable
from posthorn_relay.settings import RetrySettings
from posthorn_relay.smtp.types import Accepted, Failed, SmtpResult

SUPPRESSING = frozenset({"5.1.1", "5.1.6", "5.1.10", "5.2.1"})
"""Enhanced status codes at RCPT after which nothing more is sent to an address."""
_LOCAL_FAULT_SECONDS = 20.0
_SUPPRESSED_REPLY = "the address is suppressed: earlier mail to it failed for good, or an administrator put it on the list"


@dataclass(frozen=True, slots=True)
class Suppressed:
    """The address is on its tenant's suppression list; it was not tried."""


@dataclass(frozen=True, slots=True)
class LocalFault:
    """Something on our side failed; nothing was learned about the host."""

    reply: str
    """For the sender and the administrator; names no internals."""
    is_attempt: bool = False
    """Counts as an attempt, so that a message which always fails here expires in the end."""


@dataclass(frozen=True, slots=True)
class Released:
    """Given back to the queue untouched."""


type Result = SmtpResult | Suppressed | LocalFault | Released


class OutcomePolicy:
    """Retry schedule, expiry, suppression and DSNs. ``chance`` returns numbers from 0 to 1."""

    def __init__(
        self,
        settings: RetrySettings,
        *,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._schedule = Schedule(
            settings.relay_retry_first_seconds,
            settings.relay_retry_last_seconds,
            settings.relay_retry_jitter,
        )
        self._clock = clock
        self._chance = chance

    def outcome_of(self, job: Job, result: Result, *, min_pause_seconds: float = 0.0) -> Outcome:
        """Return the outcome of one recipient. Before ``min_pause_seconds`` another attempt is
        pointless."""
        match result:
            case Accepted():
                return _delivered(job, result)
            case Failed():
                return self._failed(job, result, min_pause_seconds)
            case Suppressed():
                return _bounced(
                    job, Failed("rcpt", 0, "5.7.1", _SUPPRESSED_REPLY, permanent=True), "5.7.1"
                )
            case LocalFault(reply, is_attempt=True):
                return self._failed(
                    job, Failed("end", 0, "4.3.0", reply, permanent=False), min_pause_seconds
                )
            case LocalFault(reply):
                pause = _LOCAL_FAULT_SECONDS * (0.5 + self._chance())
                return Outcome(job.id, QueueState.QUEUED, pause, status="4.3.0", reply=reply)
            case Released():
                return Outcome(job.id, QueueState.QUEUED)

    def _failed(self, job: Job, failed: Failed, min_pause_seconds: float) -> Outcome:
        if failed.permanent and not failed.is_about_host:
            is_no_mailbox = (
                failed.stage == "rcpt" and failed.code >= 500 and failed.status in SUPPRESSING
            )
            return _bounced(job, failed, failed.status, failed.reply if is_no_mailbox else "")
        if self._clock() >= job.expires_at.timestamp():
            return _bounced(job, failed, EXPIRED)
        pause = max(self._schedule.pause(job.attempts, self._chance()), min_pause_seconds)
        status = f"4{failed.status[1:]}" if failed.status else "4.0.0"
        return Outcome(
            job.id,
            QueueState.DEFERRED,
            pause,
            host=failed.host,
            status=status,
            reply=failed.reply,
            tls=failed.tls,
        )


def _delivered(job: Job, accepted: Accepted) -> Outcome:
    is_wanted = (
        bool(job.sender) and not accepted.dsn and RecipientDsn(job.notify).wants(Action.RELAYED)
    )
    return Outcome(
        job.id,
        QueueState.DELIVERED,
        host=accepted.host,
        status=_status(accepted.reply),
        reply=accepted.reply,
        tls=accepted.tls,
        notice=Action.RELAYED if is_wanted else None,
    )


def _bounced(job: Job, failed: Failed, status: str, suppress: str = "") -> Outcome:
    is_wanted = bool(job.sender) and RecipientDsn(job.notify).wants(Action.FAILED)
    return Outcome(
        job.id,
        QueueState.BOUNCED,
        host=failed.host,
        status=status or "5.0.0",
        reply=failed.reply,
        tls=failed.tls,
        notice=Action.FAILED if is_wanted else None,
        suppress=printable(suppress, 200),
    )


def _status(reply: str) -> str:
    """Return the enhanced status code of a positive reply, or a general one."""
    second = reply.split(" ", 2)[1:2]
    found = second[0] if second else ""
    numbers = found.split(".")
    return (
        found
        if len(numbers) == 3 and numbers[0] == "2" and "".join(numbers).isdecimal()
        else "2.0.0"
    )
