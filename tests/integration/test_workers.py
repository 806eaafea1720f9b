"""A service in several processes: started, watched, killed when it is stuck, and ended."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from posthorn.ports.errors import Unavailable
from posthorn.runtime import workers as module
from posthorn.runtime.workers import Workers
from tests.support.polling import LONG_SECONDS, until


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.1)


def made(scene: str = "serve", processes: int = 2) -> Workers:
    return Workers("tests.support.worker", {"scene": scene}, processes=processes, grace_seconds=5)


@asynccontextmanager
async def running(workers: Workers) -> AsyncIterator[None]:
    await workers.start()
    watching = asyncio.create_task(workers.run())
    try:
        yield
    finally:
        await workers.stop()
        watching.cancel()
        await asyncio.wait([watching])


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def probed(workers: Workers) -> bool:
    try:
        await workers.probe()
    except Unavailable:
        return False
    return True


async def test_a_process_that_is_stuck_or_dies_is_replaced_while_the_other_serves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workers = made()
    one, other = workers.workers
    async with running(workers):
        kept, lost = other.pid, one.pid
        monkeypatch.setattr(module, "STUCK_SECONDS", LONG_SECONDS)
        os.kill(lost, signal.SIGSTOP)
        await until(lambda: probed(workers), what="an answer of the other one")

        def is_replaced() -> bool:
            if one.pid != lost:
                return True
            one.answered_at = time.monotonic() - LONG_SECONDS - 1  # and so it is stuck
            return False

        await until(is_replaced, what="the end of a process that is stuck")
        assert not is_alive(lost)

        async def replaced() -> bool:
            return bool((await one.state()).get("ready"))

        await until(replaced, what="another process in its place")
        assert other.pid == kept
        page = await workers.metrics()
        assert "posthorn_process_restarts_total 1.0" in page
        started = [line for line in page.splitlines() if line.startswith("python_info{")]
        assert [line.rpartition(" ")[2] for line in started] == ["1.0"]
        pids = [one.pid, other.pid]
    assert not any(map(is_alive, pids))


async def test_no_process_is_ready_once_all_are_gone() -> None:
    workers = made(processes=1)
    await workers.start()
    await workers.probe()
    await workers.stop()
    with pytest.raises(Unavailable):
        await workers.probe()


async def test_a_process_that_ends_before_it_serves_stops_the_start() -> None:
    workers = made("fail")
    with pytest.raises(SystemExit, match="process 1 ended with status 3 before it served"):
        await workers.start()
    await workers.stop()
