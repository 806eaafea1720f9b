"""docs/performance.md: its table of targets is that of the stored figures."""

from __future__ import annotations

import json

import pytest
from bench.targets import TARGETS
from bench.targets_page import FIGURES, PAGE, figures_of, page_with


def test_the_page_has_the_stored_figures() -> None:
    page = PAGE.read_text()
    figures = json.loads(FIGURES.read_text())
    assert page == page_with(page, figures), "python -m bench.targets_page renews it"
    assert all(f"| {target.what} |" in page for target in TARGETS)


def test_a_target_that_is_missed_is_shown_as_missed() -> None:
    figures = json.loads(FIGURES.read_text())
    figures["figures"]["IMAP FLAGS"] = 3.01
    page = page_with(PAGE.read_text(), figures)
    assert "| IMAP FLAGS | 3.01 | ≤ 3 x Dovecot | **missed** |" in page


def test_results_of_a_part_are_refused() -> None:
    with pytest.raises(KeyError, match=r"not measured: .*inbound"):
        figures_of([{"date": "", "machine": {}, "lone": {"posthorn": {"p50_ms": 1}}}])
