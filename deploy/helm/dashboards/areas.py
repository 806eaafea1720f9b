"""The dashboards, and those of mail: Overview with the objectives, Inbound, Outbound by provider."""

from __future__ import annotations

from deploy.helm.dashboards.panels import (
    Dashboard,
    Row,
    most,
    panel,
    quantiles,
    rate,
    stat,
    total,
)
from deploy.helm.dashboards.stores import MAILBOXES, STORAGE

_SMTP, _DELIVERY, _RELAY = "posthorn_smtp_in", "posthorn_delivery", "posthorn_relay"
_NOT_WELL = 'outcome=~"lost|altered|repeated|late"'

OVERVIEW = Dashboard(
    "overview",
    "Posthorn",
    (
        Row(
            "Now",
            (
                stat("Accepted", "mps", rate(f"{_SMTP}_accepted_total")[0], "Messages per second"),
                stat(
                    "Oldest on INGEST",
                    "s",
                    f"max({_DELIVERY}_backlog_oldest_seconds{{}})",
                    "Age of the oldest accepted message that is not in a mailbox yet",
                ),
                stat("Parked", "short", f"max({_DELIVERY}_dead_messages{{}})", "Messages on DEAD"),
                stat(
                    "Outbound queue",
                    "short",
                    f"sum(max by (state) ({_RELAY}_queue_recipients{{}}))",
                    "Waiting recipients",
                ),
                stat(
                    "Directory behind",
                    "s",
                    "max(posthorn_api_directory_lag_seconds{})",
                    "Age of the oldest change that smtp-in cannot see yet",
                ),
                stat(
                    "Canary arrived",
                    "s",
                    "time() - min(posthorn_canary_arrived_at_seconds{})",
                    "Seconds since a message of the canary arrived, by the worse way; empty without a canary",
                ),
            ),
        ),
        Row(
            "Objectives over 28 days",
            (
                panel(
                    "Budget left",
                    "percentunit",
                    ("posthorn:objective_budget:left{}", "{{objective}}"),
                    about="1: nothing of what may be bad was used; below 0: the objective is missed."
                    " Known from the first full hour on",
                ),
                panel(
                    "Part that is bad, over an hour",
                    "percentunit",
                    ("posthorn:objective_errors:ratio1h{}", "{{objective}}"),
                ),
                panel(
                    "Canary, 250 to the reader",
                    "s",
                    *quantiles("posthorn_canary_seconds", "path"),
                ),
                panel(
                    "Canary, not as it should be",
                    "short",
                    (
                        f"sum by (path, outcome) (increase(posthorn_canary_messages_total{{{_NOT_WELL}}}[1h]))",
                        "{{path}} {{outcome}}",
                    ),
                    about="Messages in an hour",
                ),
            ),
        ),
        Row(
            "API, events and sign-ins",
            (
                panel("API requests", "reqps", rate("posthorn_api_requests_total", "status")),
                panel("API latency", "s", *quantiles("posthorn_api_request_seconds")),
                panel(
                    "Lags",
                    "s",
                    most("posthorn_api_directory_lag_seconds", legend="directory"),
                    most("posthorn_api_webhooks_lag_seconds", legend="webhooks"),
                    most("posthorn_api_events_lag_seconds", legend="events"),
                ),
                panel("Sign-ins", "ops", rate("posthorn_sign_ins_total", "protocol, result")),
            ),
        ),
        Row(
            "Pods",
            (
                panel(
                    "Memory",
                    "bytes",
                    (
                        'sum by (pod) (process_resident_memory_bytes{pod=~".*posthorn.*"})',
                        "{{pod}}",
                    ),
                    about="Resident",
                ),
                panel(
                    "CPU",
                    "short",
                    rate("process_cpu_seconds_total", "pod", 'pod=~".*posthorn.*"'),
                    about="Cores",
                ),
                panel(
                    "Event loop late",
                    "s",
                    (
                        "histogram_quantile(0.95, sum by (pod, le) (rate(posthorn_process_loop_lag_seconds_bucket{}[R])))",
                        "{{pod}}",
                    ),
                    about="95 % of the timers ran within",
                ),
                panel(
                    "Versions",
                    "short",
                    (
                        "count by (service, version) (posthorn_build_info{})",
                        "{{service}} {{version}}",
                    ),
                    about="Processes by version",
                ),
            ),
        ),
    ),
)

INBOUND = Dashboard(
    "inbound",
    "Posthorn: inbound",
    (
        Row(
            "smtp-in and submission",
            (
                panel("Accepted", "mps", rate(f"{_SMTP}_accepted_total", "pod")),
                panel("Ends of data", "mps", rate(f"{_SMTP}_transactions_total", "result")),
                panel("Sessions", "short", total(f"{_SMTP}_sessions", "pod")),
                panel("Refusals", "ops", rate(f"{_SMTP}_refused_total", "reason")),
                panel("End of data until kept", "s", *quantiles(f"{_SMTP}_ingest_seconds")),
                panel("Accepted", "Bps", rate(f"{_SMTP}_accepted_bytes_total", legend="bytes")),
                panel("Being received", "bytes", total(f"{_SMTP}_held_bytes", "where")),
                panel("Logins", "ops", rate(f"{_SMTP}_logins_total", "outcome")),
            ),
        ),
        Row(
            "Defence",
            (
                panel("Verdicts", "mps", rate("posthorn_scan_messages_total", "outcome")),
                panel("What smtp-in did", "mps", rate(f"{_SMTP}_scanned_total", "outcome")),
                panel("Time until judged", "s", *quantiles("posthorn_scan_message_seconds")),
                panel(
                    "Unscanned lane",
                    "short",
                    most(f"{_DELIVERY}_unscanned_messages", legend="messages"),
                    most(f"{_DELIVERY}_unscanned_oldest_seconds", legend="oldest (s)"),
                ),
                panel(
                    "Engines", "ops", rate("posthorn_scan_engine_results_total", "engine, state")
                ),
                panel(
                    "Blocklists",
                    "ops",
                    rate("posthorn_blocklist_answers_total", "zone, outcome"),
                    ("min by (zone) (posthorn_blocklist_healthy{}) == 0", "{{zone}} unhealthy"),
                ),
                panel("DNS", "ops", rate("posthorn_dns_questions_total", "outcome")),
                panel(
                    "Bans and own listings",
                    "short",
                    ("sum(increase(posthorn_scan_bans_total{}[1h]))", "bans in an hour"),
                    total("posthorn_api_own_listings", legend="own listings"),
                ),
                panel(
                    "Quarantine",
                    "short",
                    most(f"{_DELIVERY}_quarantined_copies", "reason"),
                    (
                        f'sum(increase({_DELIVERY}_filed_total{{action="quarantine"}}[1h]))',
                        "withheld in an hour",
                    ),
                ),
            ),
        ),
        Row(
            "Delivery",
            (
                panel(
                    "Waiting on INGEST",
                    "short",
                    most(f"{_DELIVERY}_backlog_messages", legend="messages"),
                    most(f"{_DELIVERY}_retry_lane_messages", legend="retry lane"),
                    most(f"{_DELIVERY}_expansions", legend="large aliases to be expanded"),
                ),
                panel("On INGEST", "bytes", most(f"{_DELIVERY}_backlog_bytes", legend="bytes")),
                panel("Delivered", "mps", rate(f"{_DELIVERY}_messages_total", "result")),
                panel("End of data to mailbox", "s", *quantiles(f"{_DELIVERY}_latency_seconds")),
                panel("Failed attempts", "ops", rate(f"{_DELIVERY}_retries_total", "part")),
            ),
        ),
    ),
)

OUTBOUND = Dashboard(
    "outbound",
    "Posthorn: outbound",
    (
        Row(
            "Queue",
            (
                panel("Recipients", "short", most(f"{_RELAY}_queue_recipients", "state")),
                panel(
                    "Oldest",
                    "s",
                    most(f"{_RELAY}_queue_state_oldest_seconds", "state"),
                    most(f"{_RELAY}_queue_oldest_seconds", legend="queued or deferred"),
                ),
                panel(
                    "Until the first attempt", "s", *quantiles(f"{_RELAY}_first_attempt_seconds")
                ),
                panel("Until the remote 250", "s", *quantiles(f"{_RELAY}_delivery_seconds")),
            ),
        ),
        Row(
            "Attempts by provider",
            (
                panel("Attempts", "ops", rate(f"{_RELAY}_provider_attempts_total", "provider")),
                panel(
                    "Taken",
                    "percentunit",
                    (
                        f'sum by (provider) (rate({_RELAY}_provider_attempts_total{{status="2xx"}}[R]))'
                        f" / sum by (provider) (rate({_RELAY}_provider_attempts_total{{}}[R]))",
                        "{{provider}}",
                    ),
                    about="Part of the recipients that were answered with 2yz",
                ),
                panel(
                    "Deferred",
                    "ops",
                    rate(f"{_RELAY}_provider_attempts_total", "provider", 'status="4xx"'),
                ),
                panel(
                    "Refused",
                    "ops",
                    rate(f"{_RELAY}_provider_attempts_total", "provider", 'status="5xx"'),
                ),
                panel(
                    "No reply",
                    "ops",
                    rate(f"{_RELAY}_provider_attempts_total", "provider", 'status="none"'),
                    about="Not reached, connection lost, no DNS",
                ),
            ),
        ),
        Row(
            "Relay",
            (
                panel("Results", "ops", rate(f"{_RELAY}_attempts_total", "result, stage")),
                panel(
                    "Connections",
                    "short",
                    total(f"{_RELAY}_open_connections", legend="open"),
                    rate(f"{_RELAY}_smtp_connections_total", "tls", legend="{{tls}} per second"),
                ),
                panel("Workers", "short", total(f"{_RELAY}_workers", "pod")),
                panel("DSNs", "ops", rate(f"{_RELAY}_dsns_total", "kind")),
            ),
        ),
    ),
)

DASHBOARDS = (OVERVIEW, INBOUND, OUTBOUND, STORAGE, MAILBOXES)
