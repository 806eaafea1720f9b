"""What a number of messages a day needs, computed from the figures of ``bench --only scale``.

Every figure is linear: what a message costs, times messages, over how far a core or a stream is
to be used. Measured is one machine; replication, reading (POP3, IMAP) and scanning come on top.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from posthorn.model.events import SHARES

DAY_SECONDS = 86_400
KIB, MIB, GIB, TIB = 2**10, 2**20, 2**30, 2**40


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What is not measured."""

    peak_factor: float = 4.0
    """Messages per second in the busiest minutes, over the mean of the day."""
    use: float = 0.6
    """Part of a core, a stream or a store that the peak takes."""
    share_out: float = 0.25
    """Part of all messages that users send to other hosts; the others arrive for mailboxes."""
    message_bytes: int = 50 * KIB
    """Mean size."""
    kept_days: int = 90
    nats_replicas: int = 3
    postgres_cores: int = 64
    """Cores of the largest primary."""
    postgres_wal_bytes_per_s: float = 200 * MIB
    """That its disk and its standbys take."""
    s3_puts_per_s: float = 3500.0
    """That the object store takes under one prefix."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a volume needs, at its peak unless something else is said."""

    per_day: float
    mean_per_s: float
    peak_per_s: float
    pods: Mapping[str, int]
    """Processes of one core each, at least two of each service."""
    nats_cores: float
    """Of each server."""
    nats_publishes_per_s: float
    nats_bytes_per_s: float
    """Into each server."""
    streams: int
    """Partitions of INGEST."""
    postgres_cores: float
    wal_bytes_per_s: float
    wal_bytes_per_day: float
    commits_per_s: float
    rows_bytes_kept: float
    """Tables and indexes after the days that messages are kept."""
    puts_per_s: float
    objects_bytes_per_day: float
    objects_bytes_kept: float
    network_bytes_per_s: float
    """Of all services and stores together, each transfer counted once."""


@dataclass(frozen=True, slots=True)
class Limit:
    """Where one of something is used up."""

    name: str
    per_day: float
    """Messages a day at which it is."""
    beyond: str
    """What helps beyond."""


class Capacity:
    """The figures of a run, as functions of messages a day."""

    def __init__(self, scale: Mapping[str, Any], assumed: Assumptions | None = None) -> None:
        """``scale``: the part of that name in the results of the bench."""
        self.assumed = assumed or Assumptions()
        self._scale = scale
        self._step = max(scale["steps"], key=lambda step: sum(step["cpu_ms_per_message"].values()))

    def cpu_seconds(self, part: str, *, out: bool = False) -> float:
        """Return the CPU seconds that a message of the mean size costs a part: a fixed cost, and
        one for each byte."""
        scale, step = self._scale, self._step
        small, large = scale["message_bytes"], scale["large_bytes"]
        first = next(one for one in scale["steps"] if one["smtp_in"] == one["delivery"] == 1)
        grown = scale["large"]["cpu_ms_per_message"][part] - first["cpu_ms_per_message"][part]
        by_size = max(grown, 0.0) * (self.assumed.message_bytes - small) / (large - small)
        own = (scale["out"] if out else step)["cpu_ms_per_message"][part]
        return float(max(own + by_size, 0.0)) / 1000

    def mixed_cpu_seconds(self, part: str) -> float:
        """The same for the mean of messages in and out."""
        share = self.assumed.share_out
        return share * self.cpu_seconds(part, out=True) + (1 - share) * self.cpu_seconds(part)

    def need(self, per_day: float) -> Need:
        """Return what so many messages a day need."""
        assumed, scale = self.assumed, self._scale
        mean = per_day / DAY_SECONDS
        peak = mean * assumed.peak_factor
        incoming, outgoing = peak * (1 - assumed.share_out), peak * assumed.share_out
        cores = {
            "smtp-in": incoming * self.cpu_seconds("smtp-in"),
            "submission": outgoing * self.cpu_seconds("submission", out=True),
            "delivery": peak * self.mixed_cpu_seconds("delivery"),
            "relay": outgoing * self.cpu_seconds("relay", out=True),
            "api": peak * self.mixed_cpu_seconds("api"),
        }
        publishes, stream_bytes = self._stream_load(peak)
        wal = self._wal_bytes()
        stored = scale["postgres"][-1]["stored_bytes_per_message"]
        days = assumed.kept_days
        # client, INGEST and its replicas, delivery, object store; what leaves is read once more
        copies = 3 + assumed.nats_replicas + 2 * assumed.share_out
        return Need(
            per_day=per_day,
            mean_per_s=mean,
            peak_per_s=peak,
            pods={name: max(2, math.ceil(used / assumed.use)) for name, used in cores.items()},
            nats_cores=peak * self.mixed_cpu_seconds("nats") / assumed.use,
            nats_publishes_per_s=publishes,
            nats_bytes_per_s=stream_bytes,
            streams=math.ceil(peak / self._stream_messages_per_s() / assumed.use),
            postgres_cores=peak * self.mixed_cpu_seconds("postgres") / assumed.use,
            wal_bytes_per_s=peak * wal,
            wal_bytes_per_day=per_day * wal,
            commits_per_s=peak * self._step["transactions_per_message"],
            rows_bytes_kept=per_day * days * stored,
            puts_per_s=peak * self._step["puts_per_message"],
            objects_bytes_per_day=per_day * assumed.message_bytes,
            objects_bytes_kept=per_day * days * assumed.message_bytes,
            network_bytes_per_s=peak * assumed.message_bytes * copies,
        )

    def limits(self) -> list[Limit]:
        """Return where single things are used up, the nearest first."""
        assumed = self.assumed

        def per_day(messages_per_s: float) -> float:
            return messages_per_s * assumed.use / assumed.peak_factor * DAY_SECONDS

        largest = assumed.postgres_cores / self.mixed_cpu_seconds("postgres")
        commits = max(row["commits_per_s"] for row in self._scale["postgres"])
        found = [
            Limit(
                "one stream for INGEST",
                per_day(self._stream_messages_per_s()),
                "partitions (`POSTHORN_INGEST_PARTITIONS`)",
            ),
            Limit(
                "the disk of one NATS server, with partitions",
                per_day(self._server_messages_per_s()),
                "more servers than replicas, each with a part of the partitions; a faster disk",
            ),
            Limit(
                f"the CPU of one Postgres with {assumed.postgres_cores} cores",
                per_day(largest),
                "tables distributed by account",
            ),
            Limit(
                f"WAL of {assumed.postgres_wal_bytes_per_s / MIB:.0f} MiB/s",
                per_day(assumed.postgres_wal_bytes_per_s / self._wal_bytes()),
                "tables distributed by account",
            ),
            Limit(
                "commits of one Postgres, four at once",
                per_day(commits / self._step["transactions_per_message"]),
                "more delivery processes commit at once; a faster disk for the WAL",
            ),
            Limit(
                f"{assumed.s3_puts_per_s:.0f} PUTs/s under one prefix",
                per_day(assumed.s3_puts_per_s / self._step["puts_per_message"]),
                "more prefixes",
            ),
            Limit(
                "one API process that reads events",
                per_day(1 / self.mixed_cpu_seconds("api")),
                "`POSTHORN_EVENT_READERS`",
            ),
            Limit(
                f"{SHARES} API processes that read events",
                per_day(SHARES / self.mixed_cpu_seconds("api")),
                "more shares (ADR 41)",
            ),
        ]
        return sorted(found, key=lambda limit: limit.per_day)

    def _wal_bytes(self) -> float:
        share = self.assumed.share_out
        out = self._scale["out"]["wal_bytes_per_message"]
        return float(share * out + (1 - share) * self._step["wal_bytes_per_message"])

    def _per_publish(self) -> float:
        """Messages in a stream message: as measured, if the size lets as many in a frame."""
        measured = 1 / self._step["stream_messages_per_message"]
        return float(max(1.0, min(measured, 0.94 * MIB / self.assumed.message_bytes)))

    def _stream_load(self, peak: float) -> tuple[float, float]:
        return peak / self._per_publish(), peak * self.assumed.message_bytes

    def _stream_messages_per_s(self) -> float:
        """Return what one stream takes: the smaller of its publishes and its bytes."""
        rows = [row for row in self._scale["nats"] if row["streams"] == 1]
        return self._messages_per_s(min(row["stream_messages_per_s"] for row in rows), rows)

    def _server_messages_per_s(self) -> float:
        """Return what one server takes on the most streams that were measured."""
        rows = self._scale["nats"]
        return self._messages_per_s(rows[-1]["stream_messages_per_s"], rows)

    def _messages_per_s(self, publishes: float, rows: Sequence[Mapping[str, Any]]) -> float:
        most_bytes = max(row["bytes_per_s"] for row in rows)
        by_bytes = most_bytes / self.assumed.message_bytes
        return float(min(publishes * self._per_publish(), by_bytes))
