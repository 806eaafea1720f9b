"""What this project needs of its dependencies and some of their releases broke."""

from __future__ import annotations

import asyncio
import gc
import warnings

import httpcore
import pytest


@pytest.mark.usefixtures("collected")
async def test_a_connection_attempt_that_is_cancelled_at_once_leaves_nothing_unawaited() -> None:
    """anyio 4.14 to 4.16 do (their task holds a coroutine that it never began), and a warning of
    it ends another test or goes to the log of a service. The bound in pyproject.toml, which the
    services' locks follow, may go once this passes without it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", RuntimeWarning)
        async with httpcore.AsyncConnectionPool() as pool:
            asking = asyncio.create_task(pool.request("GET", "http://127.0.0.1:9/"))
            before = asyncio.all_tasks()
            while not (begun := asyncio.all_tasks() - before):
                await asyncio.sleep(0)
            for task in {asking, *begun}:
                task.cancel()
            await asyncio.gather(asking, *begun, return_exceptions=True)
        del asking, begun, task
        gc.collect()
    assert [str(each.message) for each in caught] == []
