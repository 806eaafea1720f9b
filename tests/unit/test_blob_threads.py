"""Blocking calls on a small pool of threads."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from functools import partial

import pytest

from posthorn.adapters.blobs import threads
from posthorn.adapters.blobs.threads import Threads
from posthorn.ports.errors import Unavailable


async def test_short_calls_of_one_turn_share_threads_and_keep_their_outcomes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threads, "_TOGETHER", 4)
    pool = Threads("blobs", 2, 30.0)
    handed: list[int] = []
    submit = pool._submit

    def counting(work: object) -> object:
        handed.append(1)
        return submit(work)  # type: ignore[arg-type]

    monkeypatch.setattr(pool, "_submit", counting)
    seen: Counter[str] = Counter()

    def work(number: int) -> int:
        seen[threading.current_thread().name.partition("_")[0]] += 1
        if number == 3:
            raise Unavailable("blobs", "gone")
        return number * number

    calls = [pool.run_short(partial(work, number)) for number in range(10)]
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert [each for place, each in enumerate(found) if place != 3] == [
        number * number for number in range(10) if number != 3
    ]
    assert isinstance(found[3], Unavailable)
    assert (len(handed), seen) == (3, {"blobs": 10})
    assert await pool.run_short(lambda: work(5)) == 25  # the next turn is as the first one
    pool.close()
    with pytest.raises(Unavailable):
        await pool.run_short(lambda: work(5))


async def test_who_leaves_does_not_disturb_the_calls_beside_it() -> None:
    pool = Threads("blobs", 1, 30.0)
    goes_on = threading.Event()
    held = asyncio.create_task(pool.run(goes_on.wait))
    await asyncio.sleep(0)
    leaving = asyncio.create_task(pool.run_short(lambda: 1))
    staying = asyncio.create_task(pool.run_short(lambda: 2))
    await asyncio.sleep(0.01)
    leaving.cancel()
    goes_on.set()
    assert (await staying, await held) == (2, True)
    assert leaving.cancelled()
    pool.close()
