"""Memory and disk for messages while they come in, and how they are shared.

Rules:

- All sessions of a process share memory and spool (the disk). A client's network
  (``client_networks``) may hold an eighth of what is free, so that however many take all they can
  get, there is space for another one. One message of a network may always go on, so that the
  largest one fits. An address of our own side may hold as much as is free: many clients may be
  behind it.
- At its share, a network's slowest message is told 452, be it the one that wants more or another.
- When the spool is full, the slowest unfinished message of a network that holds more than the
  newcomer's is dropped and told 452.
- Of what was read and not handled yet a session holds half a MiB at most. All sessions together
  have a limit of it; a session that would go beyond it is closed with 421, and what it sent last is
  not kept.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from prometheus_client import Counter as Metric
from prometheus_client import Gauge

FREE_SHARE = 8
"""A network may hold one part in so many of what is free."""

_held = Gauge("posthorn_smtp_in_held_bytes", "Bytes of messages that are coming in", ["where"])
_refused = Metric(
    "posthorn_smtp_in_no_room_total",
    "Messages told 452 for want of space: beyond their network's share, dropped for others, or because all was taken",
    ["why"],
)
for _reason in ("share", "slowest", "full"):
    _refused.labels(_reason)


class Holder(Protocol):
    """A message that is coming in."""

    network: str
    """The network of its client; empty: it has no share."""
    is_own_side: bool
    """Whether many clients may be behind its client's address."""
    began_at: float
    """Monotonic seconds."""
    content_octets: int

    def held(self, where: ByteBudget) -> int:
        """Return the bytes that it holds there."""
        ...

    def drop(self) -> None:
        """Release everything: the message is told 452 at its end."""
        ...


class ByteBudget:
    """Bytes that all sessions of a process share."""

    def __init__(self, limit: int, where: str) -> None:
        self.limit = limit
        self.used = 0
        self._by_network: dict[str, int] = {}
        _held.labels(where).set_function(lambda: self.used)

    def of(self, network: str) -> int:
        """Return the bytes that a network holds."""
        return self._by_network.get(network, 0)

    def fits(self, octets: int) -> bool:
        """Return whether there are so many left."""
        return self.used + octets <= self.limit

    def take(self, octets: int, network: str = "") -> bool:
        """Take bytes, or none when there are not as many; return whether they were taken."""
        if not self.fits(octets):
            return False
        self.used += octets
        if network:
            self._by_network[network] = self._by_network.get(network, 0) + octets
        return True

    def release(self, octets: int, network: str = "") -> None:
        """Put bytes back."""
        self.used -= octets
        if network and octets:
            left = self._by_network.get(network, 0) - octets
            if left:
                self._by_network[network] = left
            else:
                self._by_network.pop(network, None)

    def grants(self, octets: int, holder: Holder) -> bool:
        """Return whether so many more are within the share of the message's network."""
        held = self.of(holder.network)
        if not held or not holder.network or held <= holder.held(self):
            return True  # it is the only one of its network
        free = self.limit - self.used
        return held + octets <= (free if holder.is_own_side else free // FREE_SHARE)


@dataclass(slots=True)
class SpoolLimits:
    """Limits of messages that are coming in, shared by all sessions."""

    memory: ByteBudget
    spool: ByteBudget
    inline: int
    """Stored octets up to which a message stays in memory."""
    max_size: int
    """Octets of content beyond which a message is refused."""
    directory: Path | None = None
    read_back: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(8))
    """Small messages that went to the file early come back into memory to be sent on, this many
    at a time."""
    input: ByteBudget = field(default_factory=lambda: ByteBudget(64 * 1024**2, "input"))
    """What was read from clients and not handled yet."""
    unfinished: set[Holder] = field(default_factory=set)
    """Messages whose end has not come."""

    def take(self, where: ByteBudget, octets: int, holder: Holder) -> bool:
        """Take bytes for a message, from slower messages of its network when that is at its
        share, and from the slowest of those who hold more when all is taken; return whether they
        were taken."""
        now = time.monotonic()

        def rate(other: Holder) -> float:
            return other.content_octets / (now - other.began_at + 1)

        while not where.grants(octets, holder):
            fellows = [
                each
                for each in self.unfinished
                if each.network == holder.network and each.held(where)
            ]
            slowest = min(fellows, key=rate, default=holder)
            if slowest is holder or rate(slowest) >= rate(holder):
                _refused.labels("share").inc()
                return False
            _refused.labels("share").inc()
            slowest.drop()
        while not where.fits(octets):
            held = where.of(holder.network)
            others = [
                each
                for each in self.unfinished
                if each.held(where) and where.of(each.network) > held
            ]
            if not others:
                _refused.labels("full").inc()
                return False
            _refused.labels("slowest").inc()
            min(others, key=rate).drop()
        return where.take(octets, holder.network)
