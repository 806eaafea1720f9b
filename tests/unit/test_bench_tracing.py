"""What the bench says of the cost of traces."""

from __future__ import annotations

import pytest
from bench.tracing import check_seconds, checks, more, show_tracing


def test_turns_are_compared_in_pairs() -> None:
    # the machine was twice as slow in the second turn, and in the third for one alone
    assert more([1.1, 2.2, 9.9], [1.0, 2.0, 3.0]) == pytest.approx(0.1)


def test_the_places_that_ask_are_found_and_their_question_is_timed() -> None:
    assert checks() >= 15
    assert check_seconds(100) > 0


def test_the_table_has_every_system(capsys: pytest.CaptureFixture[str]) -> None:
    turns = {"off": [1.0, 1.0], "1 in 100": [1.0, 1.02], "each": [1.4, 1.5]}
    show_tracing(
        {
            "cpu_ms_per_message": {name: each[0] for name, each in turns.items()},
            "cpu_ms_per_message_all": turns,
            "more_percent": {"1 in 100": 1.0, "each": 45.0},
            "checks": 19,
            "check_us": 0.174,
            "off_percent": 0.24,
        }
    )
    printed = capsys.readouterr().out
    assert "1 in 100" in printed and "+1.0 %" in printed and "+45.0 %" in printed
    assert "19 questions in the sources, 174 ns each: 0.24 %" in printed
