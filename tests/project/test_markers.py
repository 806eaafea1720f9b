"""Marked tests lie in the folders that ``make`` runs for their marker, so that none is forgotten."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("marker", ["root", "interop"])
def test_marked_tests_lie_in_the_folders_of_their_target(marker: str) -> None:
    found = re.search(
        rf"^WITH_{marker.upper()} := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    assert found
    folders = {ROOT / folder for folder in found[1].split()}
    marked = [
        path
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search(rf"\bmark\.{marker}\b", path.read_text())
    ]
    assert marked
    assert [path for path in marked if folders.isdisjoint(path.parents)] == []
    assert {folder for folder in folders if any(folder in path.parents for path in marked)} == (
        folders
    )
