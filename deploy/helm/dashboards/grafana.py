"""Grafana's JSON of a dashboard."""

from __future__ import annotations

import json
import re
from itertools import batched
from typing import Any, Final

from deploy.helm.dashboards.panels import Dashboard, Line, Panel

type Json = dict[str, Any]

_SELECTOR: Final = 'namespace=~"$namespace"'
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH, _IN_A_ROW = 24, 4
_OPTIONS: Final[dict[str, Json]] = {
    "stat": {"colorMode": "value", "reduceOptions": {"calcs": ["lastNotNull"]}},
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom"},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
}
_HEIGHT: Final = {"stat": 4, "timeseries": 8}
_ROLLOUT: Final = (
    "count by (service, version) (posthorn_build_info{})"
    " unless count by (service, version) (posthorn_build_info{} offset 5m)"
)
"""Versions that some process runs and none ran five minutes before."""


def expression(text: str) -> str:
    """Return an expression with Grafana's variables."""
    selected = re.sub(r"\{(?=[^}]*\})", lambda _: "{" + _SELECTOR + ",", text)
    return selected.replace(",}", "}").replace("[R]", "[$__rate_interval]")


def document(dashboard: Dashboard) -> str:
    """Return the JSON of a dashboard, with a line feed at its end."""
    panels: list[Json] = []
    top = 0
    for row in dashboard.rows:
        place = {"h": 1, "w": _WIDTH, "x": 0, "y": top}
        panels.append(
            {"type": "row", "title": row.title, "collapsed": False, "gridPos": place, "panels": []}
        )
        top += 1
        most = len(row.panels) if row.panels[0].kind == "stat" else _IN_A_ROW
        for some in batched(row.panels, most, strict=False):
            width, height = _WIDTH // len(some), _HEIGHT[some[0].kind]
            for number, each in enumerate(some):
                panels.append(_panel(each, width, height, number * width, top))
            top += height
    found = {
        "title": dashboard.title,
        "uid": "posthorn" if dashboard.key == "overview" else f"posthorn-{dashboard.key}",
        "tags": ["mail", "posthorn"],
        "timezone": "browser",
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": _variables()},
        "annotations": {"list": [_rollouts()]},
        "links": [
            {
                "type": "dashboards",
                "title": "Posthorn",
                "tags": ["posthorn"],
                "asDropdown": True,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "panels": [{"id": number, **each} for number, each in enumerate(panels, 1)],
    }
    return json.dumps(found, indent=1) + "\n"


def _panel(panel: Panel, width: int, height: int, left: int, top: int) -> Json:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "gridPos": {"h": height, "w": width, "x": left, "y": top},
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "targets": [_target(number, line) for number, line in enumerate(panel.lines)],
        "options": _OPTIONS[panel.kind],
    }


def _target(number: int, line: Line) -> Json:
    return {
        "refId": chr(ord("A") + number),
        "expr": expression(line[0]),
        "legendFormat": line[1],
        "datasource": _SOURCE,
    }


def _rollouts() -> Json:
    return {
        "name": "Rollouts",
        "datasource": _SOURCE,
        "enable": True,
        "iconColor": "purple",
        "expr": expression(_ROLLOUT),
        "step": "60s",
        "titleFormat": "{{service}} {{version}}",
        "tagKeys": "service,version",
    }


def _variables() -> list[Json]:
    return [
        {
            "name": "datasource",
            "type": "datasource",
            "query": "prometheus",
            "label": "Data source",
            "current": {},
        },
        {
            "name": "namespace",
            "type": "query",
            "label": "Namespace",
            "datasource": {"type": "prometheus", "uid": "${datasource}"},
            "query": {
                "query": "label_values(posthorn_build_info, namespace)",
                "refId": "A",
            },
            "refresh": 2,
            "includeAll": True,
            "multi": True,
            "current": {},
        },
    ]
