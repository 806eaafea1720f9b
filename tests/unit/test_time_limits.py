import asyncio
from typing import Any

import pytest

from posthorn.runtime.time_limits import TimeLimits


class Timers:
    """Counts the timers that a running loop is asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.number = 0
        loop = asyncio.get_running_loop()
        call_at = loop.call_at

        def counted(*about: Any) -> asyncio.TimerHandle:
            self.number += 1
            return call_at(*about)

        monkeypatch.setattr(loop, "call_at", counted, raising=False)


async def test_many_limits_take_one_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = TimeLimits(300)

    async def use() -> None:
        with limits.limit():
            await asyncio.sleep(0)

    timers = Timers(monkeypatch)
    await asyncio.gather(*(use() for _ in range(50)))
    assert timers.number == 1


async def test_what_takes_too_long_is_interrupted() -> None:
    limits = TimeLimits(0.01)
    ended: list[str] = []

    async def use(name: str, seconds: float) -> None:
        try:
            with limits.limit():
                await asyncio.sleep(seconds)
        except TimeoutError:
            ended.append(name)

    await asyncio.gather(use("first", 300), use("quick", 0), use("second", 300))
    assert ended == ["first", "second"]
    await use("later", 300)  # when no timer was left
    assert ended[2:] == ["later"]


async def test_a_task_that_is_cancelled_by_others_ends() -> None:
    limits = TimeLimits(0.01)
    begun = asyncio.Event()

    async def use() -> None:
        with limits.limit():
            begun.set()
            try:
                await asyncio.sleep(300)
            except asyncio.CancelledError:
                task.cancel()  # besides the limit's
                raise

    task = asyncio.create_task(use())
    await begun.wait()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_within_is_not_changed() -> None:
    limits = TimeLimits(300)
    with pytest.raises(ValueError, match="it"), limits.limit():
        raise ValueError("it")
    task = asyncio.create_task(_wait(limits))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def _wait(limits: TimeLimits) -> None:
    with limits.limit():
        await asyncio.sleep(300)
