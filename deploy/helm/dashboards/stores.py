"""The dashboards of what holds mail: Storage, and Mailboxes as clients read them."""

from __future__ import annotations

from deploy.helm.dashboards.panels import Dashboard, Row, most, panel, quantiles, rate, total

_DELIVERY = "posthorn_delivery"

STORAGE = Dashboard(
    "storage",
    "Posthorn: storage",
    (
        Row(
            "All stores",
            (
                panel("Probes", "s", *quantiles("posthorn_process_probe_seconds", "part")),
                panel(
                    "Connections to NATS made",
                    "ops",
                    rate("posthorn_nats_connections_total", "pod"),
                    about="One after each loss",
                ),
                panel(
                    "Events dropped", "ops", rate("posthorn_events_dropped_total", legend="events")
                ),
            ),
        ),
        Row(
            "Postgres",
            (
                panel("Connections lent", "short", total("posthorn_postgres_pool_in_use", "pod")),
                panel(
                    "Calls that wait for one",
                    "short",
                    total("posthorn_postgres_pool_waiting", "pod"),
                ),
                panel(
                    "Replication",
                    "short",
                    most("posthorn_postgres_standbys", legend="standbys"),
                    most("posthorn_postgres_asynchronous", legend="asynchronous"),
                ),
            ),
        ),
        Row(
            "S3",
            (
                panel(
                    "Operations", "ops", rate("posthorn_s3_operation_seconds_count", "operation")
                ),
                panel("Time", "s", *quantiles("posthorn_s3_operation_seconds", "operation")),
                panel("Errors", "ops", rate("posthorn_s3_errors_total", "operation")),
                panel(
                    "Objects and transactions per message",
                    "short",
                    (
                        f"sum(rate({_DELIVERY}_puts_total{{}}[R])) / sum(rate({_DELIVERY}_messages_total{{}}[R]))",
                        "PUTs",
                    ),
                    (
                        f"sum(rate({_DELIVERY}_transactions_total{{}}[R])) / sum(rate({_DELIVERY}_messages_total{{}}[R]))",
                        "transactions",
                    ),
                ),
                panel(
                    "Segments read",
                    "ops",
                    rate("posthorn_segments_blob_reads_total", "kind"),
                    rate("posthorn_segments_cache_hits_total", legend="found in the cache"),
                ),
                panel(
                    "Collector",
                    "ops",
                    rate(f"{_DELIVERY}_collector_removed_total", legend="removed"),
                    rate(f"{_DELIVERY}_collector_rewritten_total", legend="rewritten"),
                ),
            ),
        ),
        Row(
            "NATS",
            (
                panel(
                    "File storage",
                    "bytes",
                    most("posthorn_nats_storage_bytes", legend="used"),
                    most("posthorn_nats_storage_limit_bytes", legend="limit"),
                ),
                panel("INGEST", "bytes", most(f"{_DELIVERY}_backlog_bytes", legend="bytes")),
            ),
        ),
    ),
)

MAILBOXES = Dashboard(
    "mailboxes",
    "Posthorn: mailboxes",
    (
        Row(
            "IMAP",
            (
                panel("Connections", "short", total("posthorn_imap_connections", "pod")),
                panel("Command time", "s", *quantiles("posthorn_imap_command_seconds")),
                panel("Commands", "reqps", rate("posthorn_imap_command_seconds_count", "command")),
                panel(
                    "Logins and faults",
                    "reqps",
                    rate("posthorn_imap_logins_total", "outcome"),
                    rate("posthorn_imap_unavailable_total", "part", legend="no {{part}}"),
                ),
            ),
        ),
        Row(
            "POP3",
            (
                panel("Sessions", "short", total("posthorn_pop3_sessions", "pod")),
                panel(
                    "Messages read", "mps", rate("posthorn_pop3_messages_total", legend="messages")
                ),
                panel("Login until ready", "s", *quantiles("posthorn_pop3_login_seconds")),
                panel(
                    "Logins and faults",
                    "ops",
                    rate("posthorn_pop3_logins_total", "outcome"),
                    rate(
                        "posthorn_pop3_temporary_failures_total",
                        "command",
                        legend="{{command}} failed by us",
                    ),
                ),
            ),
        ),
    ),
)
