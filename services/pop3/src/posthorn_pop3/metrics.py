"""Metrics that several modules of the service use."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

READS_DROPPED = Counter(
    "posthorn_pop3_reads_dropped_total", "Reads of messages that were not recorded"
)
TEMPORARY_FAILURES = Counter(
    "posthorn_pop3_temporary_failures_total",
    "Commands that failed by a fault of ours: answered with [SYS/TEMP], or cut",
    ["command"],
)
LOGIN_SECONDS = Histogram(
    "posthorn_pop3_login_seconds",
    "From the password or token until the maildrop is ready, of logins that were accepted",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
