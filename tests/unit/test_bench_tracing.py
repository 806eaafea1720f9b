"""What the bench says of the cost of traces."""

from __future__ import annotations

import pytest
from bench.tracing import Cpu, check_seconds, checks, one_in_100, show_tracing


def test_what_one_in_a_hundred_costs_is_its_exports_and_a_hundredth_of_each() -> None:
    # the machine was twice as slow in the second turn, and in the third for one alone
    off = [Cpu(0.9, 0.1), Cpu(1.8, 0.2), Cpu(2.7, 0.3)]
    one = [Cpu(5.0, 0.12), Cpu(9.0, 0.24), Cpu(1.0, 9.0)]
    each = [Cpu(1.4, 9.0), Cpu(2.8, 9.0), Cpu(99.0, 9.0)]
    assert one_in_100(off, one, each) == pytest.approx(0.02 + 0.5 / 100)


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
            "one_in_100_percent": 0.8,
            "checks": 19,
            "check_us": 0.174,
            "off_percent": 0.24,
        }
    )
    printed = capsys.readouterr().out
    assert "1 in 100" in printed and "+1.0 %" in printed and "+45.0 %" in printed
    assert "a hundredth of each: 0.80 %" in printed
    assert "19 questions in the sources, 174 ns each: 0.24 %" in printed
