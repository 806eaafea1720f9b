"""The page of metrics, from the calls in the code that define them and the chart's alerts that
ask for them."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import yaml
from deploy.docs.markdown import code, page, prose, table
from deploy.docs.source import ROOT, calls, constant, modules

_KINDS = {"Counter", "Gauge", "Histogram", "Summary"}
_OWN = {
    "smtp_in": "SMTP in (smtp-in and submission)",
    "delivery": "Delivery",
    "relay": "Relay",
    "scan": "Scanning tier",
    "pop3": "POP3",
    "imap": "IMAP",
    "api": "API",
}
_SHARED = "Shared by several services"
_ABOUT = """\
Every service answers `/metrics` in the Prometheus text format on its health port (9100; in local mode 9101 and the seven after it).
Beside the metrics below there are the usual ones of the process (`process_…`, `python_…`). The chart has a ServiceMonitor, alert
rules and Grafana dashboards (`monitoring.*` in the [chart values](chart.md)); each alert has a [runbook](../runbooks/README.md).

A histogram has the series `…_bucket`, `…_sum` and `…_count`. Names say their unit: seconds, bytes, or a count."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric as the code defines it."""

    name: str
    kind: str
    about: str
    labels: tuple[str, ...]


def metrics() -> list[Metric]:
    """Return all metrics that the code defines, by name."""
    found = {metric.name: metric for _, tree in modules() for metric in _defined(tree)}
    return sorted(found.values(), key=lambda metric: metric.name)


def _defined(tree: ast.Module) -> Iterator[Metric]:
    aliases = {
        alias.asname or alias.name: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "prometheus_client"
        for alias in node.names
    }
    for called, call in calls(tree) if aliases else ():
        kind = aliases.get(called)
        if kind in _KINDS and len(call.args) >= 2:
            name, about = constant(call.args[0]), constant(call.args[1])
            given = call.args[2] if len(call.args) > 2 else _keyword(call, "labelnames")
            labels = (
                [constant(each) for each in given.elts]
                if isinstance(given, ast.List | ast.Tuple)
                else []
            )
            if isinstance(name, str) and isinstance(about, str):
                yield Metric(name, kind.lower(), about, tuple(map(str, labels)))


def _keyword(call: ast.Call, name: str) -> ast.AST | None:
    return next((each.value for each in call.keywords if each.arg == name), None)


def alerts_by_metric() -> dict[str, list[str]]:
    """Return the names of the chart's alerts by the metric that they ask for."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for alert in yaml.safe_load((ROOT / "deploy/helm/posthorn/files/alerts.yaml").read_text()):
        for name in set(re.findall(r"posthorn_\w+", alert["expr"])):
            found[re.sub("_(bucket|sum|count)$", "", name)].append(alert["alert"])
    return found


def metrics_page() -> str:
    """Return the page."""
    alerts = alerts_by_metric()
    by_section: defaultdict[str, list[Metric]] = defaultdict(list)
    for metric in metrics():
        owner = next((owner for owner in _OWN if metric.name.startswith(f"posthorn_{owner}_")), "")
        by_section[_OWN.get(owner, _SHARED)].append(metric)
    parts = [_ABOUT]
    for section in (*_OWN.values(), _SHARED):
        rows = [
            (
                code(metric.name),
                metric.kind,
                ", ".join(map(code, metric.labels)),
                prose(metric.about) + _links(alerts.get(metric.name, [])),
            )
            for metric in by_section[section]
        ]
        parts.append(f"## {section}\n\n{table(('metric', 'type', 'labels', 'meaning'), rows)}")
    return page("Metrics", *parts)


def _links(alerts: list[str]) -> str:
    if not alerts:
        return ""
    return ". Alerts: " + ", ".join(
        f"[{each}](../runbooks/{each.lower()}.md)" for each in sorted(alerts)
    )
