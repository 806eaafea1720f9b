"""Tests that are repeated are those that the machine did not let be in time, and no others."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.support.polling import repeated_when_late
from tests.support.virtual_time import run_in_virtual_time


def test_a_failure_stands_where_the_loop_keeps_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = 0

    @repeated_when_late(0.1)
    async def fails() -> None:
        nonlocal ran
        ran += 1
        await asyncio.sleep(60)
        raise AssertionError

    with pytest.raises(AssertionError):
        run_in_virtual_time(fails(), monkeypatch)
    assert ran == 1


async def test_a_failure_of_a_loop_that_was_late_is_tried_again_but_not_for_ever() -> None:
    ran = 0

    @repeated_when_late(0.1, times=3)
    async def fails() -> None:
        nonlocal ran
        ran += 1
        time.sleep(0.2)
        raise AssertionError

    with pytest.raises(AssertionError):
        await fails()
    assert ran == 3
