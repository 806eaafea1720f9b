"""Metrics that several modules of the service use."""

from __future__ import annotations

from prometheus_client import Counter

READS_DROPPED = Counter(
    "posthorn_pop3_reads_dropped_total", "Reads of messages that were not recorded"
)
