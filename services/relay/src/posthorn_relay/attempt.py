"""One attempt to send a message: its recipients are offered to the hosts of the destination in turn
(RFC 5321 §5.1).

Rules:

- A recipient that a host answered with 2yz or 5yz has its result. One with a transient answer is
  offered to the next host: 4yz, 421, or a connection lost at any stage.
- A connection lost between the final dot and its reply leaves open whether the host took the
  message. It counts as a transient answer: a duplicate is possible, and preferred to a loss (RFC
  5321 §4.5.3.2.6, RFC 1047). The next host gets the message at once, where a later attempt would
  have given it to the same host.
- A connection that has carried messages before, and ends before this one could have been taken, is
  no answer of the host: the message is sent by a new connection, also to the same host.
- All of this is one attempt of each recipient, whatever the number of hosts.
"""

from __future__ import annotations

from collections.abc import Sequence

from posthorn.ports.queue import Job
from posthorn_relay.smtp.types import Accepted, Failed, RemoteHost, SmtpResult


class Attempt:
    """The recipients of one message without a final answer, and the hosts that were tried."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.waiting = list(jobs)
        self.tried: set[tuple[str, int]] = set()
        """Keys of hosts that gave a transient answer."""
        self.is_down = True
        """Every host that was tried took the connection and then no mail."""
        self.last: Failed | None = None
        """The transient answer of the host tried last; one about the connection before one about
        a recipient."""
        self._answers: dict[int, Failed] = {}
        self._reconnected: set[tuple[str, int]] = set()

    def take(self, results: Sequence[SmtpResult]) -> list[tuple[Job, SmtpResult]]:
        """Take one result for each waiting recipient; return those that are final."""
        final: list[tuple[Job, SmtpResult]] = []
        waiting: list[Job] = []
        self.last = None
        for job, result in zip(self.waiting, results, strict=True):
            if isinstance(result, Accepted) or (result.permanent and not result.is_about_host):
                final.append((job, result))
                continue
            waiting.append(job)
            if self.last is None or result.reconnect or result.code in (0, 421):
                self.last = result
            known = self._answers.get(job.id)
            if known is None or result.code or not known.code:  # a reply says more than silence
                self._answers[job.id] = result
        self.waiting = waiting
        return final

    def answer(self, job: Job) -> Failed:
        """Return the answer to record for a waiting recipient."""
        return self._answers[job.id]

    def is_retried_at_once(
        self, remote: RemoteHost, failed: Failed, *, broken: bool, fresh: bool
    ) -> bool:
        """Return whether the same host is tried again by a new connection, without counting as
        tried.

        ``broken``: the connection ended; ``fresh``: it had carried nothing before.
        """
        if failed.reconnect and remote.key not in self._reconnected:
            self._reconnected.add(remote.key)
            return True
        if not broken or fresh or failed.code not in (0, 421):
            return False
        return failed.stage in ("mail", "rcpt", "data") or failed.code == 421

    def refused(self, remote: RemoteHost, failed: Failed, *, broken: bool, fresh: bool) -> None:
        """Note a host that gave a transient answer to some recipient."""
        self.tried.add(remote.key)
        # it took the connection and no mail: that is about the host, not about the message
        if not (broken and fresh and failed.stage == "mail" and failed.code in (0, 421)):
            self.is_down = False
