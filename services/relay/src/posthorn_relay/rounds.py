"""One attempt to send a message: a round over the hosts of its destination (RFC 5321 §5.1).

Rules:

- Recipients that a host answered for good, by 2yz or 5yz, leave the round. Those with a transient answer stay: 4yz, 421, or a
  connection lost at any stage. They are offered to the next host.
- A connection lost between the final dot and its reply leaves open whether the host took the message. It counts as a transient
  answer: a duplicate is possible, and to be preferred to a loss (RFC 5321 §4.5.3.2.6, RFC 1047). The next host gets the message
  at once, where a later attempt would have given it to the same host.
- A connection that has carried messages before and ends before this one could have been taken is no answer of the host: the
  message goes by a new connection, also to the same host.
- The whole round is one attempt of each recipient, whatever the number of hosts.
"""

from __future__ import annotations

from collections.abc import Sequence

from posthorn.ports.queue import Job
from posthorn_relay.transport import Accepted, Failed, Hop, Verdict


class Round:
    """The recipients of one message that have no final answer yet, and the hosts that were asked."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.waiting = list(jobs)
        self.tried: set[tuple[str, int]] = set()
        """Keys of hops that gave a transient answer."""
        self.is_down = True
        """Every host that was tried took the connection and then no mail."""
        self.last: Failed | None = None
        """The transient answer of the host asked last; one about its connection before one about a recipient."""
        self._answers: dict[int, Failed] = {}
        self._renewed: set[tuple[str, int]] = set()

    def take(self, verdicts: Sequence[Verdict]) -> list[tuple[Job, Verdict]]:
        """Take a verdict for each waiting recipient; return those that are final."""
        final: list[tuple[Job, Verdict]] = []
        waiting: list[Job] = []
        self.last = None
        for job, verdict in zip(self.waiting, verdicts, strict=True):
            if isinstance(verdict, Accepted) or (verdict.permanent and not verdict.is_hosts):
                final.append((job, verdict))
                continue
            waiting.append(job)
            if self.last is None or verdict.anew or verdict.code in (0, 421):
                self.last = verdict
            known = self._answers.get(job.id)
            if known is None or verdict.code or not known.code:  # what a host said tells more than silence
                self._answers[job.id] = verdict
        self.waiting = waiting
        return final

    def answer(self, job: Job) -> Failed:
        """Return the answer that a waiting recipient goes away with."""
        return self._answers[job.id]

    def is_anew(self, hop: Hop, failed: Failed, *, broken: bool, fresh: bool) -> bool:
        """Tell whether the same host is to be asked again by a new connection, at no cost.

        ``broken``: the connection ended; ``fresh``: it had carried nothing before.
        """
        if failed.anew and hop.key not in self._renewed:
            self._renewed.add(hop.key)
            return True
        if not broken or fresh or failed.code not in (0, 421):
            return False
        return failed.stage in ("mail", "rcpt", "data") or failed.code == 421

    def refused(self, hop: Hop, failed: Failed, *, broken: bool, fresh: bool) -> None:
        """Note a hop that gave a transient answer to somebody."""
        self.tried.add(hop.key)
        # it took the connection and no mail: that is about the host, not about the message
        if not (broken and fresh and failed.stage == "mail" and failed.code in (0, 421)):
            self.is_down = False
