"""Queries of dashboards, alerts and objectives name labels that their metrics have: a query by
another label finds nothing, and nobody is told."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator

import pytest
from deploy.docs.metrics import metrics
from deploy.helm.dashboards.areas import DASHBOARDS
from deploy.helm.dashboards.grafana import document

from tests.chart.rendering import render

_OF_TARGETS = {"namespace", "job", "pod"}
"""Labels that Prometheus adds."""
_OF_RULES = {"objective"}


@functools.cache
def labels_by_metric() -> dict[str, set[str]]:
    """The labels of all metrics that the code defines."""
    return {metric.name: set(metric.labels) for metric in metrics()}


def panels() -> Iterator[tuple[str, str]]:
    """Each query of a dashboard, with its legend."""
    for dashboard in DASHBOARDS:
        for panel in json.loads(document(dashboard))["panels"]:
            for target in panel.get("targets", []):
                yield target["expr"], target["legendFormat"]


def rules() -> Iterator[str]:
    """Each expression of the chart's rules."""
    enabled = render({"monitoring": {"prometheusRule": {"enabled": True}}})
    (rule,) = enabled.by_kind("PrometheusRule").values()
    for group in rule["spec"]["groups"]:
        yield from (each["expr"] for each in group["rules"])


def labels_of(series: str) -> set[str]:
    """The labels of a series that a metric makes, or a rule."""
    if series.startswith("posthorn:"):
        return _OF_RULES | _OF_TARGETS
    name = re.sub("_(bucket|sum|count)$", "", series)
    known = labels_by_metric()
    found = known.get(series, known.get(name, set())) | _OF_TARGETS
    return found | {"le"} if series.endswith("_bucket") else found


def strangers(expr: str) -> set[str]:
    """The labels in an expression that its series do not have."""
    found, all_labels = set(), set()
    for series, matchers in re.findall(r"([a-z_]+(?::[a-z0-9_:]+)?[a-z0-9_]*)\{([^}]*)\}", expr):
        all_labels |= labels_of(series)
        named = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", re.sub(r'"[^"]*"', '""', matchers)))
        found |= named - labels_of(series)
    for grouped in re.findall(r"\b(?:by|on|without) \(([^)]*)\)", expr):
        named = {each.strip() for each in grouped.split(",")}
        # label_replace makes "part"
        found |= named - all_labels - ({"part"} if "label_replace" in expr else set())
    return found


def test_queries_name_labels_that_there_are() -> None:
    wrong = {expr: found for expr in [*rules(), *dict(panels())] if (found := strangers(expr))}
    assert not wrong


def test_legends_name_labels_of_what_they_show() -> None:
    for expr, legend in panels():
        shown = set(re.findall(r"\{\{(\w+)\}\}", legend))
        grouped = re.findall(r"\bby \(([^)]*)\)", expr)
        kept = {label.strip() for each in grouped for label in each.split(",")}
        assert shown <= (kept or _OF_RULES), (expr, legend)
        assert not shown or shown | {"le"} >= kept, (expr, legend)


@pytest.mark.parametrize(
    "expr",
    [
        'sum(rate(posthorn_relay_attempts_total{namespace="x",outcome="sent"}[5m]))',
        'sum by (state) (rate(posthorn_relay_attempts_total{namespace="x"}[5m]))',
        'sum by (le) (posthorn_api_requests_total{namespace="x"})',
    ],
)
def test_a_label_that_is_not_there_is_found(expr: str) -> None:
    assert strangers(expr)
