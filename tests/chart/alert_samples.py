"""Samples of metrics that are well for two hours, then not: of each alert that needs no comparison
with other days."""

from __future__ import annotations

WELL, ILL = 120, 280
"""Minutes."""


def gauge(well: float, ill: float) -> str:
    """Samples of a gauge, by minute."""
    return f"{well}x{WELL} {ill}x{ILL}"


def counter(well: float, ill: float) -> str:
    """Samples of a counter that grows by so much in a minute."""
    return f"0+{well}x{WELL} {well * WELL}+{ill}x{ILL}"


# alert: metric, further labels, samples
ALERTS = {
    "PosthornPartDown": [("up", 'pod="a"', gauge(1, 0)), ("up", 'pod="b"', gauge(1, 1))],
    "PosthornPartGone": [
        ("posthorn_smtp_in_sessions", 'pod="a"', f"3x{WELL}"),
        ("posthorn_delivery_backlog_messages", 'pod="d"', gauge(0, 0)),
    ],
    "PosthornIngestOld": [("posthorn_delivery_backlog_oldest_seconds", "", gauge(299, 301))],
    "PosthornIngestFilling": [("posthorn_delivery_backlog_bytes", "", gauge(6e9, 6.1e9))],
    "PosthornDeliverySlow": [
        ("posthorn_delivery_latency_seconds_bucket", 'le="10.0"', counter(100, 98)),
        ("posthorn_delivery_latency_seconds_bucket", 'le="60.0"', counter(100, 100)),
        ("posthorn_delivery_latency_seconds_bucket", 'le="+Inf"', counter(100, 100)),
    ],
    "PosthornDeliveryHindered": [
        ("posthorn_delivery_retries_total", 'part="postgres"', counter(2, 4)),
        ("posthorn_delivery_retries_total", 'part="blobs"', counter(2, 2)),
    ],
    "PosthornDeadMail": [("posthorn_delivery_dead_messages", "", gauge(0, 1))],
    "PosthornRetryLane": [("posthorn_delivery_retry_lane_messages", "", gauge(0, 1))],
    "PosthornUnscanned": [("posthorn_delivery_unscanned_oldest_seconds", "", gauge(119, 121))],
    "PosthornScanEngineAway": [
        ("posthorn_scan_engine_up", 'engine="rspamd"', gauge(1, 1)),
        ("posthorn_scan_engine_up", 'engine="clamav",pod="a"', gauge(1, 1)),
        ("posthorn_scan_engine_up", 'engine="clamav",pod="b"', gauge(1, 0)),
    ],
    "PosthornSignaturesOld": [
        ("posthorn_scan_clamav_signatures_age_seconds", "", gauge(259_000, 259_300))
    ],
    "PosthornResolverAway": [
        ("posthorn_dns_questions_total", 'outcome="failed"', counter(20, 40)),
        ("posthorn_dns_questions_total", 'outcome="answered"', counter(80, 60)),
        ("posthorn_dns_questions_total", 'outcome="cached"', counter(900, 900)),
    ],
    "PosthornBlocklistUnhealthy": [
        ("posthorn_blocklist_healthy", 'zone="a"', gauge(1, 0)),
        ("posthorn_blocklist_healthy", 'zone="b"', gauge(1, 1)),
    ],
    "PosthornRefusalsJump": [
        ("posthorn_smtp_in_scanned_total", 'outcome="refused"', counter(1, 30)),
        ("posthorn_smtp_in_scanned_total", 'outcome="accepted"', counter(70, 70)),
    ],
    "PosthornAddressListed": [
        ("posthorn_api_own_listings", 'subject="192.0.2.1",zone="a"', gauge(0, 1))
    ],
    "PosthornSigningIncomplete": [
        ("posthorn_signing_unwritten_files_total", "", counter(0, 1)),
    ],
    "PosthornExpansionsOld": [
        ("posthorn_delivery_expansions_oldest_seconds", "", gauge(899, 901)),
    ],
    "PosthornDirectoryStalled": [("posthorn_api_directory_stalled", 'pod="b"', gauge(0, 1))],
    "PosthornAcceptSlow": [
        ("posthorn_smtp_in_ingest_seconds_bucket", 'le="1.0"', counter(100, 98)),
        ("posthorn_smtp_in_ingest_seconds_bucket", 'le="5.0"', counter(100, 100)),
        ("posthorn_smtp_in_ingest_seconds_bucket", 'le="+Inf"', counter(100, 100)),
    ],
    "PosthornProgramFaults": [("posthorn_smtp_in_faults_total", 'pod="a"', counter(0, 1))],
    "PosthornQueueBehind": [
        ("posthorn_relay_queue_recipients", 'state="queued"', gauge(1000, 1001)),
        ("posthorn_relay_queue_recipients", 'state="deferred"', gauge(9000, 9000)),
    ],
    "PosthornMostMailDeferred": [
        ("posthorn_relay_attempts_total", 'result="deferred"', counter(40, 110)),
        ("posthorn_relay_attempts_total", 'result="delivered"', counter(60, 40)),
    ],
    "PosthornMailBounces": [
        ("posthorn_relay_attempts_total", 'result="bounced"', counter(10, 50)),
    ],
    "PosthornOutcomesUnrecorded": [
        ("posthorn_relay_unrecorded_outcomes", 'pod="r"', gauge(100, 101)),
    ],
    "PosthornManyFailedLogins": [
        ("posthorn_imap_logins_total", 'outcome="wrong"', counter(100, 130)),
        ("posthorn_imap_logins_total", 'outcome="accepted"', counter(900, 900)),
        ("posthorn_pop3_logins_total", 'outcome="wrong"', counter(100, 100)),
    ],
    "PosthornPlacesShort": [
        ("posthorn_listen_stressed", 'pod="a"', gauge(0, 1)),
        ("posthorn_listen_stressed", 'pod="b"', gauge(0, 0)),
    ],
    "PosthornLeasesLost": [("posthorn_pop3_leases_lost_total", "", counter(0.2, 1))],
    "PosthornImapSlow": [
        ("posthorn_imap_command_seconds_bucket", 'le="5.0"', counter(100, 90)),
        ("posthorn_imap_command_seconds_bucket", 'le="10.0"', counter(100, 100)),
        ("posthorn_imap_command_seconds_bucket", 'le="+Inf"', counter(100, 100)),
        ("posthorn_imap_command_seconds_count", "", counter(100, 100)),
    ],
    "PosthornImapUnavailable": [
        ("posthorn_imap_unavailable_total", 'part="postgres"', counter(2, 4)),
        ("posthorn_imap_unavailable_total", 'part="blobs"', counter(2, 2)),
    ],
    "PosthornMailboxCountersWrong": [
        ("posthorn_delivery_mailbox_counters_wrong_total", "", counter(0, 1))
    ],
    "PosthornCollectorHindered": [
        ("posthorn_delivery_collector_faults_total", 'part="blobs"', counter(0.05, 0.2))
    ],
    "PosthornEventsDropped": [("posthorn_events_dropped_total", "", counter(0, 1))],
    "PosthornReplicationAsynchronous": [("posthorn_postgres_asynchronous", "", gauge(0, 1))],
    "PosthornNatsStorageFilling": [
        ("posthorn_nats_storage_bytes", 'pod="d"', gauge(79, 81)),
        ("posthorn_nats_storage_limit_bytes", 'pod="d"', gauge(100, 100)),
    ],
    "PosthornInstallationForeign": [
        ("posthorn_installation_halted", 'pod="d"', gauge(0, 1)),
        ("posthorn_installation_halted", 'pod="e"', gauge(0, 0)),
    ],
    "PosthornBrakeHolds": [
        ("posthorn_brake_holding", 'brake="collector"', gauge(0, 1)),
        ("posthorn_brake_holding", 'brake="directory"', gauge(0, 0)),
    ],
}
