"""Commands that are called by the words of other programs."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from posthorn_cli.app import app


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("domain get example.org", "show"),
        ("account add carol@example.org", "create"),
        ("route add example.org", "set"),
        ("alias rm team@example.org", "delete"),
        ("queue ls", "list"),
        ("account shwo carol@example.org", "show"),
    ],
)
def test_what_was_meant_is_named(typed: str, meant: str) -> None:
    ran = CliRunner().invoke(app, typed.split())
    assert ran.exit_code == 2
    assert f"Did you mean '{meant}'?" in ran.output
