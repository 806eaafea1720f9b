"""The objectives as recording rules and alerts: of metrics that exist, at bounds that their buckets
have, with the windows and factors of multi-window burn rates."""

from __future__ import annotations

import re

import pytest
import yaml
from prometheus_client import REGISTRY

from posthorn_api.directory import publisher
from posthorn_api.http import asgi
from posthorn_api.webhooks import sender
from posthorn_delivery import deliverer
from posthorn_pop3 import metrics as pop3_metrics
from posthorn_relay import claimed
from posthorn_smtp_in import acceptance
from tests.chart.rendering import CHART, Object, render
from tests.chart.test_generated import metrics_in, metrics_in_code

SELECTOR = 'namespace="mail",job="posthorn-metrics"'
OBJECTIVES: list[Object] = yaml.safe_load((CHART / "files" / "objectives.yaml").read_text())
RUNBOOKS = CHART.parents[2] / "docs" / "runbooks"


def rules(**settings: object) -> list[Object]:
    """The rendered rules of the objectives."""
    (rule,) = (
        render({"monitoring": {"prometheusRule": {"enabled": True, **settings}}})
        .by_kind("PrometheusRule")
        .values()
    )
    group = rule["spec"]["groups"][1]
    assert group["name"] == "posthorn-objectives"
    found: list[Object] = group["rules"]
    return found


def test_each_objective_has_its_windows_target_and_budget() -> None:
    recorded = [(each["record"], each["labels"]) for each in rules() if "record" in each]
    for objective in OBJECTIVES:
        labels = {
            "objective": objective["objective"],
            "namespace": "mail",
            "job": "posthorn-metrics",
        }
        names = [name for name, found in recorded if found == labels]
        assert names == [
            *(["posthorn:objective:missed"] if "missed" in objective else []),
            *(
                f"posthorn:objective_errors:ratio{each}"
                for each in ("5m", "30m", "1h", "6h", "28d")
            ),
            "posthorn:objective:target",
            "posthorn:objective_budget:left",
        ]
    assert len({each["objective"] for each in OBJECTIVES}) == len(OBJECTIVES) >= 17
    for each in OBJECTIVES:
        # else no part that is bad, however large, would spend the budget 14.4 times too fast
        assert 14.4 * (1 - each["target"]) < 1
        assert all((RUNBOOKS / f"{page.lower()}.md").is_file() for page in each["look"])


def test_an_objective_can_be_left_out() -> None:
    kept = {each["labels"]["objective"] for each in rules(disabled=["dns"]) if "record" in each}
    assert kept == {each["objective"] for each in OBJECTIVES} - {"dns"}


def test_every_rule_asks_for_this_release_and_for_metrics_that_exist() -> None:
    there = metrics_in_code()
    for each in rules():
        expr = each["expr"]
        assert "WINDOW" not in expr
        assert "SELECTOR" not in expr
        assert metrics_in(expr) <= there, each
        assert expr.count("{") == expr.count(SELECTOR), each
    errors = [
        each for each in rules() if re.search("errors:ratio[0-9]+[mh]", each.get("record", ""))
    ]
    assert all(metrics_in(each["expr"]) or ":missed{" in each["expr"] for each in errors)


def test_the_bounds_are_bounds_of_the_buckets() -> None:
    # their metrics are registered
    assert all((acceptance, asgi, claimed, deliverer, pop3_metrics, publisher, sender))
    bounds: dict[str, set[str]] = {}
    for metric in REGISTRY._names_to_collectors.values():
        buckets = getattr(metric, "_kwargs", {}).get("buckets") or ()
        bounds[getattr(metric, "_name", "")] = {str(float(each)) for each in buckets}
    asked = [
        each
        for objective in OBJECTIVES
        for each in re.findall(
            r'(posthorn_\w+)_bucket\{[^}]*le="([0-9.]+)"', objective.get("bad", "")
        )
    ]
    assert len(asked) == 8
    for name, bound in asked:
        assert bound in bounds[name], name


@pytest.mark.parametrize(
    ("name", "factor", "long", "short", "severity"),
    [
        ("PosthornBudgetBurnsFast", "14.4", "1h", "5m", "critical"),
        ("PosthornBudgetBurns", "6", "6h", "30m", "warning"),
    ],
)
def test_budgets_burn_in_two_windows(
    name: str, factor: str, long: str, short: str, severity: str
) -> None:
    (alert,) = (each for each in rules(alertLabels={"team": "mail"}) if each.get("alert") == name)
    limit = (
        f"> on (objective) group_left () {factor} * (1 - posthorn:objective:target{{{SELECTOR}}})"
    )
    slow = "|".join(each["objective"] for each in OBJECTIVES if each.get("slow"))
    left_out = f'objective!~"{slow}",' if severity == "critical" else ""
    assert alert["expr"] == (
        f"posthorn:objective_errors:ratio{long}{{{left_out}{SELECTOR}}} {limit}"
        f" and on (objective) posthorn:objective_errors:ratio{short}{{{SELECTOR}}} {limit}"
    )
    assert alert["labels"] == {"severity": severity, "team": "mail"}
    page = alert["annotations"]["runbook_url"].rpartition("/")[2]
    assert (RUNBOOKS / page).is_file()
    assert alert["for"]
    assert name not in [each.get("alert") for each in rules(disabled=[name])]
