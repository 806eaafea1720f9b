"""The page of service level objectives, from the chart's file of them."""

from __future__ import annotations

import re
from typing import Any

import yaml
from deploy.docs.markdown import code, page, table
from deploy.docs.source import ROOT

_FILE = ROOT / "deploy/helm/posthorn/files/objectives.yaml"
_ABOUT = """\
Each objective holds over 28 days. The chart records it where `monitoring.prometheusRule.enabled` is set, as series with the
label `objective`; the Overview dashboard shows what is left of each budget."""
_RULES = (
    ("posthorn:objective:target", "the part that is to be good"),
    ("posthorn:objective:missed", "1 while an objective that counts time is missed"),
    (
        "posthorn:objective_errors:ratio5m, …30m, …1h, …6h, …28d",
        "the part that was not, over that time; over 28 days each hour with traffic counts the same",
    ),
    (
        "posthorn:objective_budget:left",
        "1: nothing of what may be bad was used; below 0: the objective is missed",
    ),
    (
        "[PosthornBudgetBurnsFast](../runbooks/posthornbudgetburnsfast.md)",
        "alert: 14.4 times too much was bad over an hour and the last 5 minutes; not of those that take days to put right",
    ),
    (
        "[PosthornBudgetBurns](../runbooks/posthornbudgetburns.md)",
        "alert: 6 times too much was bad over 6 hours and the last 30 minutes",
    ),
)


def objectives() -> list[dict[str, Any]]:
    """Return the objectives, in the order of the file."""
    found: list[dict[str, Any]] = yaml.safe_load(_FILE.read_text())
    return found


def objectives_page() -> str:
    """Return the page."""
    rows = [
        (
            code(each["objective"]),
            each["about"],
            f"{each['target'] * 100:g} %",
            _counted(each),
            ", ".join(map(code, _metrics(each))),
            ", ".join(f"[{name}](../runbooks/{name.lower()}.md)" for name in each["look"]),
        )
        for each in objectives()
    ]
    heads = ("objective", "good", "at least", "part of", "metrics", "causes")
    rules = [(name if name[0] == "[" else code(name), about) for name, about in _RULES]
    return page(
        "Objectives",
        _ABOUT,
        table(heads, rows),
        f"## Rules\n\n{table(('name', 'meaning'), rules)}",
    )


def _counted(objective: dict[str, Any]) -> str:
    if "missed" in objective:
        return "time"
    return "domains" if objective["objective"] == "dns" else "events"


def _metrics(objective: dict[str, Any]) -> list[str]:
    exprs = " ".join(objective.get(key, "") for key in ("bad", "all", "missed"))
    named = re.findall(r"posthorn_\w+", exprs)
    return sorted({re.sub("_(bucket|sum|count)$", "", name) for name in named})
