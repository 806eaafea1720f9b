"""Metrics of commands, which several modules of the service count."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

COMMAND_SECONDS = Histogram(
    "posthorn_imap_command_seconds",
    "Time from a command to its tagged reply, IDLE excepted",
    ["command"],
    buckets=(0.001, 0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 120),
)
UNAVAILABLE = Counter(
    "posthorn_imap_unavailable_total",
    "Commands that failed because of a part, such as postgres or blobs",
    ["part"],
)
READS_DROPPED = Counter(
    "posthorn_imap_reads_dropped_total", "Reads of messages that were not recorded"
)
