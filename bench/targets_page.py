"""Write the table of targets in docs/performance.md: `python -m bench.targets_page RESULTS...`.

The table is made of `bench/figures/targets.json`, which holds the figures of a run, or of several
that measured a part each.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.scale_page import filled, table
from bench.targets import TARGETS, judged

FIGURES = Path(__file__).parent / "figures" / "targets.json"
PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
_ROUNDS = (
    ("connection_per_message", "delivered_per_s_all", "delivered/s, a connection per message"),
    ("connections_kept", "delivered_per_s_all", "delivered/s, connections kept"),
    ("outbound", "relayed_per_s_all", "submission to the sink/s"),
)


def figures_of(runs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the table needs of the results of runs, of which later ones count. Raises
    KeyError if a target was not measured."""
    results: dict[str, Any] = {}
    for run in runs:
        versions = results.get("versions", {}) | run.get("versions", {})
        results |= run
        results["versions"] = versions
    figures = {target.what: figure for target, figure in judged(results)}
    if missing := sorted({t.part for t in TARGETS if figures[t.what] is None}):
        raise KeyError(f"not measured: {', '.join(missing)}")
    return {
        **{name: results[name] for name in ("date", "machine", "versions")},
        "figures": figures,
        "rounds": {
            label: {peer: results[part][peer][key] for peer in ("posthorn", "postfix")}
            for part, key, label in _ROUNDS
        },
    }


def targets_table(figures: Mapping[str, Any]) -> str:
    """Return the table, and what was measured where."""
    rows: list[Sequence[str]] = []
    for target in TARGETS:
        figure = figures["figures"][target.what]
        wanted = f"{target.relation.replace('>=', '≥').replace('<=', '≤')} {target.bound:g} {target.unit}"
        verdict = "met" if target.is_met(figure) else "**missed**"
        rows.append([target.what, f"{figure:.3g}", wanted.strip(), verdict])
    rounds = "; ".join(
        f"{label} {shown(each['posthorn'])} beside {shown(each['postfix'])}"
        for label, each in figures["rounds"].items()
    )
    machine, versions = figures["machine"], figures["versions"]
    return (
        f"Measured on {figures['date'][:10]} with {machine['cores']} cores, Python {machine['python']},"
        f" {versions['postfix']}, {versions['dovecot']}, messages of 4 KiB, 20 sessions, bodies in a local directory.\n\n"
        f"{table(['what', 'figure', 'target', ''], rows)}\n\n"
        f"Rounds, of which the median counts: {rounds}."
    )


def shown(rounds: Iterable[float]) -> str:
    """Return the figures of rounds in a row."""
    return ", ".join(f"{each:,.0f}" for each in rounds)


def page_with(page: str, figures: Mapping[str, Any]) -> str:
    """Return the page with these figures."""
    return filled(page, figures, {"targets": targets_table})


def main() -> None:
    """Renew the page."""
    options = argparse.ArgumentParser(prog="bench.targets_page", description=__doc__)
    options.add_argument("results", nargs="*", type=Path, help="results of runs to take")
    paths: list[Path] = options.parse_args().results
    if paths:
        runs = [json.loads(path.read_text()) for path in paths]
        FIGURES.write_text(json.dumps(figures_of(runs), indent=2) + "\n")
    PAGE.write_text(page_with(PAGE.read_text(), json.loads(FIGURES.read_text())))


if __name__ == "__main__":
    main()
