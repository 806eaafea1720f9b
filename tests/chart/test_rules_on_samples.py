"""The chart's rules, evaluated on samples by Prometheus itself (promtool of Debian's package)."""

from __future__ import annotations

import subprocess
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
    "all is well": (1600, set()),
}
NAMES = "PosthornBudget.*|PosthornCertificate.*|PosthornDomains.*|PosthornWebhooks.*|PosthornApi.*|PosthornEventLoop.*"


def test_alerts_fire_on_samples_and_no_others(tmp_path: Path) -> None:
    (rule,) = (
        render({"monitoring": {"prometheusRule": {"enabled": True}}})
        .by_kind("PrometheusRule")
        .values()
    )
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": rule["spec"]["groups"]}))
    document = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "5m",
        "tests": [_case(name, *FIRING[name]) for name in SAMPLES],
    }
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(document))
    ran = subprocess.run(
        ["promtool", "test", "rules", "tests.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def _case(name: str, minute: int, firing: set[tuple[str, str]]) -> dict[str, Any]:
    fired = (
        f'count by (alertname, objective, pod) (ALERTS{{alertstate="firing",alertname=~"{NAMES}"}})'
    )
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
    key = "objective" if "Budget" in alert else "pod"
    return f'{{alertname="{alert}"' + (f',{key}="{about}"' if about else "") + "}"
