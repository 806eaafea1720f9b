"""Prometheus pages of several processes as one.

Rules:

- Samples of the same name and labels are added: counters, histograms, and gauges, which count what
  a process holds (sessions, bytes, open files).
- What is no amount is not added: facts about the program, points in time, flags. Of these the
  greatest counts.
- Of a process that has ended its counters are kept, so that no sum goes back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

_NO_AMOUNT = re.compile(
    r"_(info|created|start_time_seconds|end_seconds|stressed|halted|holding|away)\Z"
)
_COUNTED = frozenset({"counter", "histogram", "summary"})

type _Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Family:
    documentation: str
    kind: str
    samples: dict[tuple[str, _Labels], float] = field(default_factory=dict)


class MetricsSum:
    """Sums of the samples of pages."""

    def __init__(self) -> None:
        self._families: dict[str, _Family] = {}

    def add(self, page: str, *, counters_only: bool = False) -> None:
        """Add a page in Prometheus' text format. ``counters_only``: what a process that has ended
        has counted."""
        for metric in text_string_to_metric_families(page):
            if counters_only and metric.type not in _COUNTED:
                continue
            family = self._families.setdefault(
                metric.name, _Family(metric.documentation, metric.type)
            )
            for sample in metric.samples:
                key = sample.name, tuple(sorted(sample.labels.items()))
                known = family.samples.get(key)
                if known is None:
                    family.samples[key] = sample.value
                elif _NO_AMOUNT.search(sample.name):
                    family.samples[key] = max(known, sample.value)
                else:
                    family.samples[key] = known + sample.value

    def page(self) -> str:
        """Return the sums in Prometheus' text format."""
        lines = []
        for name, family in self._families.items():
            title = f"{name}_total" if family.kind == "counter" else name
            lines.append(f"# HELP {title} {_escaped(family.documentation)}")
            lines.append(f"# TYPE {title} {family.kind}")
            lines += [
                f"{sample}{_written(labels)} {value!r}"
                for (sample, labels), value in family.samples.items()
            ]
        return "\n".join(lines) + "\n"


def _written(labels: _Labels) -> str:
    if not labels:
        return ""
    pairs = ",".join(
        f'{name}="{_escaped(value).replace(chr(34), chr(92) + chr(34))}"' for name, value in labels
    )
    return f"{{{pairs}}}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
