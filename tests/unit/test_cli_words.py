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


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("account list --limit x", "must be a valid integer"),
        ("account list --limit 0", "must be greater than or equal to 1"),
        ("queue release nope", "must be a valid integer"),
    ],
)
def test_a_value_that_is_refused_is_told_what_would_be_right(typed: str, said: str) -> None:
    ran = CliRunner(env={"COLUMNS": "200"}).invoke(app, typed.split())
    assert ran.exit_code == 2
    assert said in ran.output and "nput should" not in ran.output
