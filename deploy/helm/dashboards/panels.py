"""What a dashboard is made of, without Grafana's JSON.

In expressions ``{}`` becomes the selector of the chosen namespaces, and ``[R]`` Grafana's rate
interval.
"""

from __future__ import annotations

from dataclasses import dataclass

type Line = tuple[str, str]
"""An expression of PromQL, and the legend of its series."""


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines over time; ``kind`` ``stat``: their last value."""

    title: str
    unit: str
    lines: tuple[Line, ...]
    about: str = ""
    kind: str = "timeseries"


@dataclass(frozen=True, slots=True)
class Row:
    """Panels side by side, under a title."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A page of Grafana."""

    key: str
    title: str
    rows: tuple[Row, ...]


def panel(title: str, unit: str, *lines: Line, about: str = "") -> Panel:
    """Return a panel of lines over time."""
    return Panel(title, unit, lines, about)


def stat(title: str, unit: str, expression: str, about: str = "") -> Panel:
    """Return a panel of one number."""
    return Panel(title, unit, ((expression, ""),), about, "stat")


def rate(metric: str, by: str = "", where: str = "", legend: str = "") -> Line:
    """Return the rate per second of a counter, by labels."""
    labels = [each.strip() for each in by.split(",") if each]
    shown = legend or " ".join(f"{{{{{each}}}}}" for each in labels)
    grouped = f" by ({', '.join(labels)})" if labels else ""
    return f"sum{grouped} (rate({metric}{{{where}}}[R]))", shown


def quantiles(metric: str, by: str = "") -> tuple[Line, Line]:
    """Return median and 99th percentile of a histogram, by one label."""
    grouped = f"{by}, le" if by else "le"
    of = f"sum by ({grouped}) (rate({metric}_bucket{{}}[R]))"
    name = f"{{{{{by}}}}} " if by else ""
    return (
        (f"histogram_quantile(0.5, {of})", f"{name}50 %"),
        (f"histogram_quantile(0.99, {of})", f"{name}99 %"),
    )


def most(metric: str, by: str = "", legend: str = "") -> Line:
    """Return the greatest value of a gauge, by one label."""
    grouped = f" by ({by})" if by else ""
    return f"max{grouped} ({metric}{{}})", legend or (f"{{{{{by}}}}}" if by else "")


def total(metric: str, by: str = "", legend: str = "") -> Line:
    """Return the sum of a gauge over the pods, by one label."""
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} ({metric}{{}})", legend or (f"{{{{{by}}}}}" if by else "")
