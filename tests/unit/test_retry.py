from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn.model.retry import NEXT_HOP, Schedule

SCHEDULE = Schedule(300.0, 14400.0, 0.2)


def test_the_pause_doubles_up_to_the_bound() -> None:
    pauses = [SCHEDULE.pause(failures, 0.5) for failures in range(8)]
    assert pauses == [300, 600, 1200, 2400, 4800, 9600, 14400, 14400]


@pytest.mark.parametrize(("chance", "pause"), [(0.0, 240.0), (0.5, 300.0), (1.0, 360.0)])
def test_chance_makes_a_pause_longer_or_shorter_by_the_jitter(chance: float, pause: float) -> None:
    assert SCHEDULE.pause(0, chance) == pytest.approx(pause)


@given(st.integers(-5, 10**9), st.floats(0, 1))
def test_no_number_of_failures_leaves_the_bounds(failures: int, chance: float) -> None:
    assert 240 <= SCHEDULE.pause(failures, chance) <= 14400 * 1.2 + 1e-6


def test_a_host_that_is_down_is_left_alone_from_a_minute_to_an_hour() -> None:
    assert NEXT_HOP.pause(0, 0.5) == 60
    assert NEXT_HOP.pause(20, 0.5) == 3600


def test_in_five_days_a_message_is_tried_about_forty_times() -> None:
    at, attempts = 0.0, 0
    while at < 432000:
        at += SCHEDULE.pause(attempts, 0.5)
        attempts += 1
    assert 30 <= attempts <= 45
