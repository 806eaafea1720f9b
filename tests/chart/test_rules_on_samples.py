"""The chart's rules, evaluated on samples by Prometheus itself (promtool of Debian's package)."""

from __future__ import annotations

import subprocess
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.alert_samples import ALERTS, ILL, WELL
from tests.chart.rendering import render

pytestmark = pytest.mark.interop

OURS = 'namespace="mail",job="posthorn-metrics"'
ZERO = "0x400"
"""A sample of zero each minute."""

# metric, further labels, samples by minute
SAMPLES = {
    "accept is missed by one in fifty": [
        ("posthorn_smtp_in_transactions_total", 'pod="a",result="accepted"', "0+98x400"),
        ("posthorn_smtp_in_transactions_total", 'pod="a",result="failed"', "0+2x400"),
        ("posthorn_api_requests_total", 'pod="b",status="200"', "0+100x400"),
    ],
    "accept is missed for a moment": [
        ("posthorn_smtp_in_transactions_total", 'pod="a",result="accepted"', "0+98x400"),
        ("posthorn_smtp_in_transactions_total", 'pod="a",result="failed"', "0x198 200x200"),
    ],
    "one delivery in fifty is late": [
        ("posthorn_delivery_latency_seconds_count", 'pod="d"', "0+50x400"),
        ("posthorn_delivery_latency_seconds_bucket", 'pod="d",le="5.0"', "0+49x400"),
        ("posthorn_delivery_latency_seconds_bucket", 'pod="d",le="60.0"', "0+49x400"),
    ],
    "a certificate ends": [
        ("posthorn_tls_certificate_end_seconds", 'pod="p"', "1000000x400"),
        ("posthorn_tls_certificate_end_seconds", 'pod="without"', ZERO),
        ("posthorn_tls_certificate_end_seconds", 'pod="later"', "9000000x400"),
    ],
    "webhooks and the directory are behind": [
        ("posthorn_api_webhooks_lag_seconds", 'pod="b"', "600x400"),
        ("posthorn_api_webhook_first_attempt_seconds_count", 'pod="b"', "0+5x400"),
        ("posthorn_api_webhook_first_attempt_seconds_bucket", 'pod="b",le="10.0"', "0+4x400"),
        ("posthorn_api_directory_seconds_count", 'pod="b"', "0+50x400"),
        ("posthorn_api_directory_seconds_bucket", 'pod="b",le="10.0"', "0+49x400"),
    ],
    "the API fails": [
        ("posthorn_api_requests_total", 'pod="b",status="200"', "0+90x400"),
        ("posthorn_api_requests_total", 'pod="b",status="503"', "0+10x400"),
    ],
    "more domains are wrong than yesterday": [
        ("posthorn_api_domains", 'pod="b",dns="wrong"', "3x1500 4x300"),
    ],
    "as many domains are wrong as yesterday": [
        ("posthorn_api_domains", 'pod="b",dns="wrong"', "3x1800"),
    ],
    "an event loop is late": [
        ("posthorn_process_loop_lag_seconds_bucket", 'pod="b",le="0.25"', "0+10x400"),
        ("posthorn_process_loop_lag_seconds_bucket", 'pod="b",le="0.5"', "0+60x400"),
        ("posthorn_process_loop_lag_seconds_bucket", 'pod="b",le="+Inf"', "0+60x400"),
    ],
    "recipients wait and are held": [
        ("posthorn_relay_queue_state_oldest_seconds", 'pod="r",state="queued"', "0+60x400"),
        ("posthorn_relay_queue_state_oldest_seconds", 'pod="r",state="held"', "84000+60x400"),
    ],
    "stores are slow": [
        ("posthorn_process_probe_seconds_bucket", 'pod="d",part="postgres",le="0.5"', "0+1x400"),
        ("posthorn_process_probe_seconds_bucket", 'pod="d",part="postgres",le="1.0"', "0+6x400"),
        ("posthorn_process_probe_seconds_bucket", 'pod="d",part="postgres",le="+Inf"', "0+6x400"),
        ("posthorn_process_probe_seconds_bucket", 'pod="d",part="nats",le="0.5"', "0+6x400"),
        ("posthorn_process_probe_seconds_bucket", 'pod="d",part="nats",le="+Inf"', "0+6x400"),
        ("posthorn_s3_operation_seconds_bucket", 'pod="d",operation="put",le="2.5"', "0+80x400"),
        ("posthorn_s3_operation_seconds_bucket", 'pod="d",operation="put",le="5.0"', "0+100x400"),
        ("posthorn_s3_operation_seconds_bucket", 'pod="d",operation="put",le="+Inf"', "0+100x400"),
        ("posthorn_postgres_pool_waiting", 'pod="d"', "3x400"),
    ],
    "large providers defer": [
        (
            "posthorn_relay_provider_attempts_total",
            'pod="r",provider="google",status="2xx"',
            "0+60x400",
        ),
        (
            "posthorn_relay_provider_attempts_total",
            'pod="r",provider="google",status="4xx"',
            "0+40x400",
        ),
        (
            "posthorn_relay_provider_attempts_total",
            'pod="r",provider="other",status="4xx"',
            "0+900x400",
        ),
    ],
    "calls wait for a slot": [
        ("posthorn_slots", 'pod="d",kind="database connections",state="waiting"', "2x400"),
        ("posthorn_slots", 'pod="d",kind="webhooks",state="waiting"', "9x400"),
    ],
    "others wait for a slot": [
        ("posthorn_slots", 'pod="d",kind="webhooks",state="waiting"', "9x400"),
        ("posthorn_slots", 'pod="d",kind="database connections",state="held"', "9x400"),
    ],
    "POP3 is slow and fails": [
        ("posthorn_pop3_commands_total", 'pod="p",command="retr"', "0+90x400"),
        ("posthorn_pop3_commands_total", 'pod="p",command="login"', "0+10x400"),
        ("posthorn_pop3_commands_total", 'pod="p",command="noop"', "0+9000x400"),
        ("posthorn_pop3_temporary_failures_total", 'pod="p",command="retr"', "0+1x400"),
        ("posthorn_pop3_login_seconds_bucket", 'pod="p",le="0.5"', "0+8x400"),
        ("posthorn_pop3_login_seconds_count", 'pod="p"', "0+10x400"),
    ],
    "nobody does anything about what is wrong": [
        ("posthorn_delivery_dead_oldest_seconds", 'pod="d"', "0+60x400"),
        ("posthorn_tls_certificate_end_seconds", 'pod="p"', "1000000x400"),
        ("posthorn_api_domains", 'pod="b",dns="wrong"', "9x400"),
        ("posthorn_api_domains", 'pod="b",dns="right"', "1x400"),
        ("posthorn_api_domains", 'pod="b",dns="unknown"', "900x400"),
        ("posthorn_api_own_listings", 'pod="b",subject="a",zone="z"', "1x400"),
    ],
    "messages of the canary by port 25 come no more": [
        ("posthorn_canary_arrived_at_seconds", 'pod="k",path="mx"', "0+60x30 1800x370"),
        ("posthorn_canary_arrived_at_seconds", 'pod="k",path="submission"', "0+60x400"),
    ],
    "a message of the canary is lost": [
        ("posthorn_canary_arrived_at_seconds", 'pod="k",path="mx"', "0+60x400"),
        ("posthorn_canary_messages_total", 'pod="k",path="mx",outcome="arrived"', "0+1x400"),
        ("posthorn_canary_messages_total", 'pod="k",path="mx",outcome="lost"', "0x375 1x25"),
    ],
    "stores are slow for a moment": [
        ("posthorn_postgres_pool_waiting", 'pod="d"', "0x290 9x3 0x107"),
        ("posthorn_s3_operation_seconds_bucket", 'pod="d",operation="list",le="2.5"', "0+1x400"),
        ("posthorn_s3_operation_seconds_bucket", 'pod="d",operation="list",le="+Inf"', "0+9x400"),
    ],
    "mail comes no more": [
        ("posthorn_smtp_in_accepted_total", 'pod="a"', "0+10x11000 110000x200"),
    ],
    "mail comes as on other days": [
        ("posthorn_smtp_in_accepted_total", 'pod="a"', "0+10x11200"),
    ],
    "a small server has a quiet night": [
        ("posthorn_smtp_in_accepted_total", 'pod="a"', "0+1x11000 11000x200"),
    ],
    "events are read late": [
        ("posthorn_api_events_lag_seconds", 'pod="b"', "0x100 301x100"),
        ("posthorn_api_events_lag_seconds", 'pod="c"', "0x200"),
    ],
    "quarantine grows": [
        (
            "posthorn_delivery_quarantined_copies",
            'pod="d",reason="score"',
            "80x1500 140x300",
        ),
        ("posthorn_delivery_quarantined_copies", 'pod="d",reason="virus"', "20x1800"),
        ("posthorn_delivery_quarantined_copies", 'pod="former",reason="score"', "70x1800"),
    ],
    "quarantine is large as ever": [
        ("posthorn_delivery_quarantined_copies", 'pod="d",reason="score"', "5000x1800"),
    ],
    "quarantine is small and doubles": [
        ("posthorn_delivery_quarantined_copies", 'pod="d",reason="score"', "9x1500 99x300"),
    ],
    "all is well": [
        ("posthorn_smtp_in_transactions_total", 'pod="a",result="accepted"', "0+98x400"),
        ("posthorn_api_requests_total", 'pod="b",status="200"', "0+90x400"),
        ("posthorn_api_domains", 'pod="b",dns="wrong"', "3x400"),
        ("posthorn_api_domains", 'pod="b",dns="right"', "97x400"),
        ("posthorn_api_webhooks_lag_seconds", 'pod="b"', "1x400"),
        ("posthorn_api_webhook_first_attempt_seconds_count", 'pod="b"', "0+50x400"),
        ("posthorn_api_webhook_first_attempt_seconds_bucket", 'pod="b",le="10.0"', "0+50x400"),
        ("posthorn_api_directory_seconds_count", 'pod="b"', "0+50x400"),
        ("posthorn_api_directory_seconds_bucket", 'pod="b",le="10.0"', "0+50x400"),
        ("posthorn_tls_certificate_end_seconds", 'pod="later"', "9000000x400"),
    ],
}


def _burn(*objectives: str) -> set[tuple[str, str]]:
    alerts = ("PosthornBudgetBurnsFast", "PosthornBudgetBurns")
    return {(alert, objective) for alert in alerts for objective in objectives}


def _warn(*objectives: str) -> set[tuple[str, str]]:
    return {("PosthornBudgetBurns", objective) for objective in objectives}


# in which minute to look, and what fires then: alert, and objective or pod
FIRING: dict[str, tuple[int, set[tuple[str, str]]]] = {
    "accept is missed by one in fifty": (
        390,
        {("PosthornBudgetBurnsFast", "accept"), ("PosthornBudgetBurns", "accept")},
    ),
    "accept is missed for a moment": (230, set()),
    "one delivery in fifty is late": (
        390,
        {
            ("PosthornBudgetBurnsFast", "readable-minute"),
            ("PosthornBudgetBurns", "readable-minute"),
        },
    ),
    "a certificate ends": (100, {("PosthornCertificateEnds", "p"), *_warn("certificate")}),
    "webhooks and the directory are behind": (
        390,
        {
            ("PosthornWebhooksBehind", ""),
            ("PosthornBudgetBurnsFast", "directory"),
            ("PosthornBudgetBurns", "directory"),
            ("PosthornBudgetBurnsFast", "webhooks"),
            ("PosthornBudgetBurns", "webhooks"),
        },
    ),
    "the API fails": (
        390,
        {
            ("PosthornApiFaults", ""),
            ("PosthornBudgetBurnsFast", "api"),
            ("PosthornBudgetBurns", "api"),
        },
    ),
    "more domains are wrong than yesterday": (1605, {("PosthornDomainsDnsWrong", "")}),
    "as many domains are wrong as yesterday": (1605, set()),
    "an event loop is late": (100, {("PosthornEventLoopSlow", "b")}),
    "recipients wait and are held": (110, {("PosthornQueuedOld", ""), ("PosthornHeldLong", "")}),
    "stores are slow": (
        60,
        {
            ("PosthornStoresSlow", "postgres"),
            ("PosthornStoresSlow", "s3"),
            ("PosthornStoresSlow", "postgres pool"),
        },
    ),
    "large providers defer": (
        390,
        {("PosthornBudgetBurnsFast", "providers"), ("PosthornBudgetBurns", "providers")},
    ),
    "messages of the canary by port 25 come no more": (60, {("PosthornCanaryLate", "mx")}),
    "a message of the canary is lost": (390, {("PosthornCanaryLate", "mx")}),
    "calls wait for a slot": (60, {("PosthornStoresSlow", "postgres pool")}),
    "others wait for a slot": (60, set()),
    "POP3 is slow and fails": (390, _burn("pop3", "pop3-login")),
    "nobody does anything about what is wrong": (
        390,
        {
            ("PosthornCertificateEnds", "p"),
            *_burn("parked"),
            *_warn("certificate", "dns", "listings"),
        },
    ),
    "stores are slow for a moment": (300, set()),
    "mail comes no more": (11_100, {("PosthornNoMail", "")}),
    "mail comes as on other days": (11_100, set()),
    "a small server has a quiet night": (11_100, set()),
    "events are read late": (120, {("PosthornEventsBehind", "")}),
    "quarantine grows": (1640, {("PosthornQuarantineGrows", "")}),
    "quarantine is large as ever": (1640, set()),
    "quarantine is small and doubles": (1640, set()),
    "all is well": (390, set()),
}
NAMES = "|".join(
    f"Posthorn{name}.*"
    for name in (
        *(
            "Budget",
            "Certificate",
            "Domains",
            "Webhooks",
            "Api",
            "EventLoop",
            "QueuedOld",
            "HeldLong",
        ),
        *("Stores", "Canary", "NoMail", "EventsBehind", "Quarantine"),
    )
)


# by days: of these rules alone, since those of the objectives cost more with each day
OF_DAYS = {
    "more domains are wrong than yesterday",
    "as many domains are wrong as yesterday",
    "mail comes no more",
    "mail comes as on other days",
    "a small server has a quiet night",
    "quarantine grows",
    "quarantine is large as ever",
    "quarantine is small and doubles",
}


def test_alerts_fire_on_samples_and_no_others(tmp_path: Path) -> None:
    _hold(tmp_path, SAMPLES.keys() - OF_DAYS, every="10m")


def test_alerts_that_compare_days_fire_on_samples_and_no_others(tmp_path: Path) -> None:
    _hold(
        tmp_path,
        OF_DAYS,
        every="15m",
        alone={"PosthornNoMail", "PosthornQuarantineGrows", "PosthornDomainsDnsWrong"},
    )


def test_each_further_alert_fires_when_its_samples_are_ill_and_not_before(tmp_path: Path) -> None:
    covered = {alert for _, firing in FIRING.values() for alert, _ in firing}
    assert ALERTS.keys() | covered == _names()
    assert not ALERTS.keys() & covered
    samples = [each for some in ALERTS.values() for each in some]
    fired = 'count by (alertname) (ALERTS{alertstate="firing"})'
    tests = [
        {
            "expr": fired,
            "eval_time": f"{WELL}m",
            "exp_samples": [],
        },
        {
            "expr": fired,
            "eval_time": f"{WELL + ILL - 10}m",
            "exp_samples": [
                {"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(ALERTS)
            ],
        },
    ]
    case = {"interval": "1m", "input_series": _series(samples), "promql_expr_test": tests}
    _run(tmp_path, [case], every="5m", alone=ALERTS)


def _names() -> set[str]:
    return {each["alert"] for group in _groups() for each in group["rules"] if "alert" in each}


def _groups() -> list[dict[str, Any]]:
    (rule,) = (
        render({"monitoring": {"prometheusRule": {"enabled": True}}})
        .by_kind("PrometheusRule")
        .values()
    )
    groups: list[dict[str, Any]] = rule["spec"]["groups"]
    return groups


def _hold(
    directory: Path, cases: Collection[str], *, every: str, alone: Collection[str] = ()
) -> None:
    """Evaluate the rules (``alone``: these) on the samples of the cases."""
    found = [_case(name, *FIRING[name]) for name in SAMPLES if name in cases]
    _run(directory, found, every=every, alone=alone)


def _run(
    directory: Path, cases: list[dict[str, Any]], *, every: str, alone: Collection[str] = ()
) -> None:
    groups = _groups()
    if alone:
        groups = groups[:1]
        groups[0]["rules"] = [each for each in groups[0]["rules"] if each["alert"] in alone]
        assert groups[0]["rules"]
    (directory / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    document = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": every,
        "tests": cases,
    }
    (directory / "tests.yaml").write_text(yaml.safe_dump(document))
    ran = subprocess.run(
        ["promtool", "test", "rules", "tests.yaml"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def _case(name: str, minute: int, firing: set[tuple[str, str]]) -> dict[str, Any]:
    fired = f'count by (alertname, objective, pod, part, path) (ALERTS{{alertstate="firing",alertname=~"{NAMES}"}})'
    return {
        "name": name,
        "interval": "1m",
        "input_series": _series(SAMPLES[name]),
        "promql_expr_test": [
            {
                "expr": fired,
                "eval_time": f"{minute}m",
                "exp_samples": [
                    {"labels": _labels(alert, about), "value": 1} for alert, about in sorted(firing)
                ],
            }
        ],
    }


def _series(samples: Collection[tuple[str, str, str]]) -> list[dict[str, str]]:
    return [
        {"series": f"{metric}{{{','.join(filter(None, (OURS, labels)))}}}", "values": values}
        for metric, labels, values in samples
    ]


def _labels(alert: str, about: str) -> str:
    key = (
        "objective"
        if "Budget" in alert
        else "part"
        if "Stores" in alert
        else "path"
        if "Canary" in alert
        else "pod"
    )
    return f'{{alertname="{alert}"' + (f',{key}="{about}"' if about else "") + "}"
