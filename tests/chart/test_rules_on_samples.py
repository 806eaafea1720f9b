"""The chart's rules, evaluated on samples by Prometheus itself (promtool of Debian's package)."""

from __future__ import annotations

import subprocess
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.rendering import render

pytestmark = pytest.mark.interop

OURS = 'namespace="mail",job="posthorn-metrics"'
WELL = "0x400"
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
        ("posthorn_tls_certificate_end_seconds", 'pod="without"', WELL),
        ("posthorn_tls_certificate_end_seconds", 'pod="later"', "9000000x400"),
    ],
    "webhooks and the directory are behind": [
        ("posthorn_api_webhooks_lag_seconds", 'pod="b"', "600x400"),
        ("posthorn_api_directory_lag_seconds", 'pod="b"', "600x400"),
        ("posthorn_api_directory_lag_seconds", 'pod="c"', WELL),
    ],
    "the API fails": [
        ("posthorn_api_requests_total", 'pod="b",status="200"', "0+90x400"),
        ("posthorn_api_requests_total", 'pod="b",status="503"', "0+10x400"),
    ],
    "more domains are wrong than yesterday": [
        ("posthorn_api_domains", 'pod="b",dns="wrong"', "3x1500 4x300"),
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
    "messages of the canary by port 25 come no more": [
        ("posthorn_canary_arrived_at_seconds", 'pod="k",path="mx"', "0+60x30 1800x370"),
        ("posthorn_canary_arrived_at_seconds", 'pod="k",path="submission"', "0+60x400"),
    ],
    "a message of the canary is lost": [
        ("posthorn_canary_arrived_at_seconds", 'pod="k",path="mx"', "0+60x400"),
        ("posthorn_canary_messages_total", 'pod="k",path="mx",outcome="arrived"', "0+1x400"),
        ("posthorn_canary_messages_total", 'pod="k",path="mx",outcome="lost"', "0x385 1x15"),
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
        ("posthorn_api_domains", 'pod="b",dns="wrong"', "3x1500 3x300"),
        ("posthorn_api_webhooks_lag_seconds", 'pod="b"', "1x400"),
        ("posthorn_tls_certificate_end_seconds", 'pod="later"', "9000000x400"),
    ],
}
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
    "a certificate ends": (100, {("PosthornCertificateEnds", "p")}),
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
    "more domains are wrong than yesterday": (1600, {("PosthornDomainsDnsWrong", "")}),
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
    "a message of the canary is lost": (395, {("PosthornCanaryLate", "mx")}),
    "stores are slow for a moment": (300, set()),
    "mail comes no more": (11_100, {("PosthornNoMail", "")}),
    "mail comes as on other days": (11_100, set()),
    "a small server has a quiet night": (11_100, set()),
    "events are read late": (115, {("PosthornEventsBehind", "")}),
    "quarantine grows": (1640, {("PosthornQuarantineGrows", "")}),
    "quarantine is large as ever": (1640, set()),
    "quarantine is small and doubles": (1640, set()),
    "all is well": (1600, set()),
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
    "mail comes no more",
    "mail comes as on other days",
    "a small server has a quiet night",
    "quarantine grows",
    "quarantine is large as ever",
    "quarantine is small and doubles",
}


def test_alerts_fire_on_samples_and_no_others(tmp_path: Path) -> None:
    _hold(tmp_path, SAMPLES.keys() - OF_DAYS, every="5m")


def test_alerts_that_compare_days_fire_on_samples_and_no_others(tmp_path: Path) -> None:
    _hold(tmp_path, OF_DAYS, every="15m", alone={"PosthornNoMail", "PosthornQuarantineGrows"})


def _hold(
    directory: Path, cases: Collection[str], *, every: str, alone: Collection[str] = ()
) -> None:
    """Evaluate the rules (``alone``: these) on the samples of the cases."""
    (rule,) = (
        render({"monitoring": {"prometheusRule": {"enabled": True}}})
        .by_kind("PrometheusRule")
        .values()
    )
    groups = rule["spec"]["groups"]
    if alone:
        groups = groups[:1]
        groups[0]["rules"] = [each for each in groups[0]["rules"] if each["alert"] in alone]
        assert groups[0]["rules"]
    (directory / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    document = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": every,
        "tests": [_case(name, *FIRING[name]) for name in SAMPLES if name in cases],
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
        "input_series": [
            {"series": f"{metric}{{{OURS},{labels}}}", "values": values}
            for metric, labels, values in SAMPLES[name]
        ],
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
