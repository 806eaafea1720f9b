"""docs/scale.md: its tables are those of the stored figures, and it shows them all."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from bench.scale_page import BLOCKS, FIGURES, PAGE, figures_of, number, page_with, size, table


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(FIGURES.read_text())
    return read


def test_the_page_has_the_stored_figures(figures: dict[str, Any]) -> None:
    page = PAGE.read_text()
    assert page == page_with(page, figures), "make scale-page renews it"
    assert re.findall(r"<!-- figures: (\w+) -->", page) == list(BLOCKS)


def test_other_figures_make_another_page(figures: dict[str, Any]) -> None:
    changed = json.loads(json.dumps(figures))
    for row in changed["scale"]["nats"]:
        row["stream_messages_per_s"] /= 10
    before, after = (
        dict(re.findall(r"<!-- figures: (\w+) -->\n(.*?)<!-- end -->", page, re.DOTALL))
        for page in (PAGE.read_text(), page_with(PAGE.read_text(), changed))
    )
    assert {name for name in BLOCKS if before[name] != after[name]} >= {"nats", "limits"}
    assert before["steps"] == after["steps"]


def test_a_run_with_partitions_shows_what_they_change(figures: dict[str, Any]) -> None:
    changed = json.loads(json.dumps(figures))
    changed["scale"]["partitions"] = [
        changed["scale"]["steps"][0] | {"partitions": number, "accepted_per_s": 1000.0 * number}
        for number in (1, 2, 4)
    ]
    shown = BLOCKS["partitions"](changed)
    assert [line.split(" | ")[:2] for line in shown.splitlines() if line.startswith("| ")][2:] == [
        ["| 1", "1,000"],
        ["| 2", "2,000"],
        ["| 4", "4,000"],
    ]
    assert "From 1 to 4 partitions the dearest step is 0% above the cheapest." in shown
    del changed["scale"]["partitions"]
    assert BLOCKS["partitions"](changed) == "Not measured in this run."


def test_text_beside_the_tables_has_no_figure_of_a_run() -> None:
    prose = re.sub(r"<!-- figures: \w+ -->.*?<!-- end -->", "", PAGE.read_text(), flags=re.DOTALL)
    assert not re.findall(r"\d+(?:\.\d+)? (?:ms per|messages/s|publishes/s|million)", prose)


def test_results_without_scale_are_refused() -> None:
    with pytest.raises(KeyError):
        figures_of({"date": "", "machine": {}, "blobs": ""})


def test_numbers_are_short() -> None:
    shown = [number(each) for each in (0.0234, 1.234, 12.34, 123.4, 1_234_567.8)]
    assert shown == ["0.023", "1.23", "12.3", "123", "1,234,568"]
    assert [size(each) for each in (12, 2048, 3 * 2**20, 2**41)] == [
        "12 bytes",
        "2.00 KiB",
        "3.00 MiB",
        "2.00 TiB",
    ]
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
