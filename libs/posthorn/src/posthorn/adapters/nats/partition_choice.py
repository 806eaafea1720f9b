"""Which partition of INGEST takes the next publish (ADR 48).

Rules:

- Round robin from a random start, so that the publishes of one process spread, and those of many
  do not meet.
- A partition that refused a publish, or did not answer, is passed over: for a few seconds at first,
  for up to a minute when it fails again and again. Then one message tries it, not a frame.
- Where all are passed over, none is.
- A message whose publish was not answered may be stored. It is never published to another
  partition, not even by a later call with the same id.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterator

from prometheus_client import Counter

_passed_over = Counter(
    "posthorn_ingest_passed_over_total",
    "Times that a partition of INGEST was passed over, since it refused a publish or did not answer",
    ["partition"],
)

FIRST_SECONDS = 2.0
"""For which a partition is passed over when it fails for the first time."""
LAST_SECONDS = 60.0
"""For which it is passed over at most."""
_PINS = 4096
_PIN_SECONDS = 120.0


class PartitionChoice:
    """The choice of a process among ``number`` partitions."""

    def __init__(
        self,
        number: int,
        *,
        start: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.number = number
        self._next = random.randrange(number) if start is None else start  # noqa: S311
        self._clock = clock
        self._failures = [0] * number
        self._passed_until = [0.0] * number

    def pick(self, avoided: Collection[int] = (), tried: Collection[int] = ()) -> int | None:
        """Return the next partition, one that is neither passed over nor ``avoided`` if there is
        any; never one of ``tried``. None when all were tried."""
        if self.number == 1:
            return None if tried else 0
        chosen = next((each for each in self.in_order(avoided) if each not in tried), None)
        if chosen is not None:
            self._next = (chosen + 1) % self.number
        return chosen

    def in_order(self, avoided: Collection[int] = ()) -> Iterator[int]:
        """Yield all partitions in the order in which they are to be tried."""
        now = self._clock()
        order = [(self._next + ahead) % self.number for ahead in range(self.number)]
        return iter(
            sorted(order, key=lambda each: (each in avoided, self._passed_until[each] > now))
        )

    def is_on_trial(self, partition: int) -> bool:
        """Return whether the partition failed last, while another did not."""
        return self._failures[partition] > 0 and 0 in self._failures

    def failed(self, partition: int) -> None:
        """Note that it refused a publish, or did not answer. While it is passed over, what was sent
        to it before says nothing new."""
        now = self._clock()
        if self.number > 1 and self._passed_until[partition] <= now:
            _passed_over.labels(str(partition)).inc()
            seconds = min(LAST_SECONDS, FIRST_SECONDS * 2 ** self._failures[partition])
            self._failures[partition] = min(self._failures[partition] + 1, 10)
            self._passed_until[partition] = now + seconds

    def stored(self, partition: int) -> None:
        """Note that it stored a publish."""
        self._failures[partition] = 0
        self._passed_until[partition] = 0.0

    def forget(self) -> None:
        """Pass over none: the connection is a new one."""
        self._failures = [0] * self.number
        self._passed_until = [0.0] * self.number


class Pins:
    """Where the messages may be stored whose publish was not answered: a partition by message id,
    for as long as a stream recognises a duplicate."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pins: dict[str, tuple[int, float]] = {}

    def pin(self, message_id: str, partition: int) -> None:
        """Note the partition of a message in doubt."""
        self._pins.pop(message_id, None)
        self._pins[message_id] = partition, self._clock() + _PIN_SECONDS
        while len(self._pins) > _PINS:
            del self._pins[next(iter(self._pins))]

    def of(self, message_id: str) -> int | None:
        """Return the partition to which a message must go; None: any."""
        partition, until = self._pins.get(message_id, (None, 0.0))
        return partition if self._clock() < until else None

    def unpin(self, message_id: str) -> None:
        """Forget a message: it is stored."""
        self._pins.pop(message_id, None)
