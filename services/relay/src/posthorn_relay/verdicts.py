"""What a verdict comes to: an outcome for the queue, and whether the sender hears of it.

Rules:

- A reply counts by its class: 4yz is tried again, 5yz is the end (RFC 5321 §4.2.1). What concerns the host as a whole is never the
  end, whatever its code: a host may greet with 554 for an hour.
- What fails after its time is up has failed for good, with 4.4.7 (RFC 3463) and the last that was heard.
- An address goes on the suppression list when its host says in so many words that there is no such mailbox (X.1.1, X.1.6, X.1.10,
  X.2.1), in reply to RCPT; a mere 550 may be about us.
- A fault of ours, such as a store that is away, is no attempt: it leaves the schedule, the host and its lane as they were.
- The null sender is told nothing.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from posthorn.model.outbound import Notice, QueueState, RecipientDsn
from posthorn.model.retry import Schedule
from posthorn.ports.queue import EXPIRED, Job, Outcome
from posthorn.wire.smtp.client_replies import printable
from posthorn_relay.settings import RetrySettings
from posthorn_relay.transport import Accepted, Failed, Verdict

SUPPRESSING = frozenset({"5.1.1", "5.1.6", "5.1.10", "5.2.1"})
"""Enhanced codes at RCPT after which nothing more is sent to an address."""
_OUR_PAUSE = 20.0


class Judge:
    """Turns verdicts into outcomes. ``chance`` gives numbers from 0 to 1."""

    def __init__(
        self,
        settings: RetrySettings,
        *,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._schedule = Schedule(
            settings.relay_retry_first_seconds, settings.relay_retry_last_seconds, settings.relay_retry_jitter
        )
        self._clock = clock
        self._chance = chance

    def outcome(self, job: Job, verdict: Verdict, least: float = 0.0) -> Outcome:
        """Judge one recipient. ``least``: seconds before which another attempt makes no sense."""
        if isinstance(verdict, Accepted):
            wanted = bool(job.sender) and not verdict.dsn and RecipientDsn(job.notify).wants(Notice.RELAYED)
            return Outcome(
                job.id,
                QueueState.DELIVERED,
                host=verdict.host,
                status=_status(verdict.reply),
                reply=verdict.reply,
                tls=verdict.tls,
                notice=Notice.RELAYED if wanted else None,
            )
        if verdict.permanent and not verdict.is_hosts:
            named = verdict.stage == "rcpt" and verdict.code >= 500 and verdict.status in SUPPRESSING
            return self._failed(job, verdict, verdict.status, verdict.reply if named else "")
        if self._clock() >= job.expires_at.timestamp():
            return self._failed(job, verdict, EXPIRED, "")
        pause = max(self._schedule.pause(job.attempts, self._chance()), least)
        status = f"4{verdict.status[1:]}" if verdict.status else "4.0.0"
        return Outcome(
            job.id, QueueState.DEFERRED, pause, host=verdict.host, status=status, reply=verdict.reply, tls=verdict.tls
        )

    def suppressed(self, job: Job) -> Outcome:
        """The address is on the suppression list: it fails without being tried."""
        reply = "the address is suppressed: earlier mail to it failed for good, or an administrator put it on the list"
        return self._failed(job, Failed("rcpt", 0, "5.7.1", reply, permanent=True), "5.7.1", "")

    def hindered(self, job: Job, reply: str) -> Outcome:
        """Something of ours is not there, such as the message's octets: again soon, and no attempt is counted."""
        pause = _OUR_PAUSE * (0.5 + self._chance())
        return Outcome(job.id, QueueState.QUEUED, pause, status="4.3.0", reply=reply)

    @staticmethod
    def back(job: Job) -> Outcome:
        """Given back untouched."""
        return Outcome(job.id, QueueState.QUEUED)

    @staticmethod
    def _failed(job: Job, verdict: Failed, status: str, reason: str) -> Outcome:
        wanted = bool(job.sender) and RecipientDsn(job.notify).wants(Notice.FAILED)
        return Outcome(
            job.id,
            QueueState.BOUNCED,
            host=verdict.host,
            status=status or "5.0.0",
            reply=verdict.reply,
            tls=verdict.tls,
            notice=Notice.FAILED if wanted else None,
            suppress=printable(reason, 200),
        )


def _status(reply: str) -> str:
    """The enhanced code that stands in a positive reply, or a general one."""
    second = reply.split(" ", 2)[1:2]
    found = second[0] if second else ""
    numbers = found.split(".")
    return found if len(numbers) == 3 and numbers[0] == "2" and "".join(numbers).isdecimal() else "2.0.0"
