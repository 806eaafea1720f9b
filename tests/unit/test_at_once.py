"""Awaiting several things at once, and judging a message for which nothing has to be waited for."""

from __future__ import annotations

import asyncio
import gc

import pytest

from posthorn.ports.scan import MessageQuestion, SenderFacts
from posthorn.runtime.at_once import Begun, at_once, begun
from posthorn.runtime.blocklists import Blocklists
from posthorn.wire.auth.results import Outcome
from posthorn_scan.judge import Judge
from posthorn_scan.sender import SenderChecks
from tests.support.spam import message
from tests.support.zone_lookup import ZoneLookup


async def at(value: int, waits: asyncio.Event | None = None) -> int:
    if waits is not None:
        await waits.wait()
    if value < 0:
        raise LookupError(value)
    return value


async def test_results_come_in_order_whatever_waits() -> None:
    gate = asyncio.Event()
    asyncio.get_running_loop().call_soon(gate.set)
    assert await at_once(at(1), at(2, gate), at(3)) == [1, 2, 3]
    assert await at_once(at(1), at(2)) == [1, 2]
    assert await at_once() == []


@pytest.mark.usefixtures("collected")
async def test_a_failure_is_raised_at_once_and_a_cancellation_reaches_what_waits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate = asyncio.Event()
    with pytest.raises(LookupError):
        await at_once(at(-1), at(-2))
    gc.collect()
    assert not caplog.records, "no failure is left that nobody looked at"
    with pytest.raises(LookupError):
        await at_once(at(-1), at(2, gate))
    with pytest.raises(LookupError):
        await at_once(at(1), at(-1))
    waiting: list[asyncio.Task[int]] = []

    async def ask() -> int:
        waiting.append(begun(at(1, gate)))
        return await waiting[0]

    asking = begun(at_once(ask(), at(2)))
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert waiting[0].cancelled()


async def test_a_message_is_judged_without_a_turn_of_the_loop_if_all_answers_are_there() -> None:
    lookup = ZoneLookup({"_dmarc.example.org": [("TXT", "v=DMARC1; p=reject")]})
    lists = Blocklists(lookup, ())
    senders = SenderChecks(lookup, lists, None, hostname="mx.test", seconds=60, keep_seconds=60)
    judge = Judge(lookup, None, lists, senders, [])  # type: ignore[arg-type]
    content = message(fields={"From": "a@example.org"})
    question = MessageQuestion(
        "id",
        "192.0.2.1",
        "mx.example.org",
        "a@example.org",
        ["bob@example.test"],
        1.0,
        "mx.test",
        content,
        facts=SenderFacts(),
    )
    turns: list[None] = []
    asyncio.get_running_loop().call_soon(turns.append, None)
    verdict = await judge.judge(question, content)
    assert not turns
    assert verdict.authentication.dmarc.outcome is Outcome.FAIL


async def test_what_was_begun_without_a_task_goes_on_where_it_waited() -> None:
    gate, seen = asyncio.Event(), list[str]()

    async def ask() -> int:
        try:
            await gate.wait()
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        finally:
            seen.append("ended")
        return 1

    ready = Begun(at(2))
    assert ready.is_done
    assert await ready.result() == 2
    with pytest.raises(LookupError):
        Begun(at(-1))
    asking = Begun(ask())
    assert not asking.is_done
    asyncio.get_running_loop().call_soon(gate.set)
    assert await asking.result() == 1
    assert seen == ["ended"]
    failing = Begun(at(-1, asyncio.Event()))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await failing.result()
    gate.clear()
    waiting = Begun(ask())
    task = begun(waiting.result())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["ended", "cancelled", "ended"]


async def test_a_time_limit_within_what_was_begun_is_its_own() -> None:
    async def ask() -> str:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            return "late"
        return ""

    asking = Begun(ask())
    async with asyncio.timeout(60):
        assert await asking.result() == "late"
