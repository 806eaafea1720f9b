"""The table of RFC requirements: each row names tests that exist, or says why there is none."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
PAGE = TESTS.parent / "docs" / "reference" / "rfc-coverage.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.read_text().splitlines()
    if line.startswith("| ")
    and not line.startswith("| RFC, section |")
    and not line.startswith("| section |")
]
NAMED = re.compile(r"`(test_\w+)`")
STATES = ("not met", "not built", "not applicable", "not tested")
REASON = re.compile(r"\*Not (met|built|applicable|tested)\*.{15,}")


@pytest.fixture(scope="module")
def existing() -> set[str]:
    return {
        name
        for path in TESTS.rglob("test_*.py")
        for name in re.findall(r"^\s*(?:async )?def (test_\w+)\(", path.read_text(), re.MULTILINE)
    }


def test_every_test_that_is_named_exists(existing: set[str]) -> None:
    named = set(NAMED.findall(PAGE.read_text()))
    assert len(named) > 300
    missing = {
        name: difflib.get_close_matches(name, existing, n=2) for name in sorted(named - existing)
    }
    assert not missing, "renamed or removed; the closest names there are"


def test_every_requirement_has_a_test_or_a_reason() -> None:
    assert len(ROWS) > 300
    for row in ROWS:
        assert len(row) == 4, row
        section, level, requirement, proof = row
        assert section and requirement
        assert level in ("M", "S", ""), row
        assert NAMED.search(proof) or REASON.search(proof), row
        for mark in re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", proof):
            assert mark.lower() in STATES, row


def test_a_must_without_a_test_has_a_state() -> None:
    """*Not built* is for what is optional."""
    for _, level, requirement, proof in ROWS:
        if level and not NAMED.search(proof):
            assert re.match(r"\*Not (met|applicable|tested)\*", proof), requirement
