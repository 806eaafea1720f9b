"""Slots shared fairly: nobody holds all of them, nobody waits without end, and each holder gets
its share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import Request

from posthorn.ports.errors import Unavailable
from posthorn.runtime.fair_slots import FairSlots, SlotsTaken
from posthorn.runtime.holders import work_for
from posthorn_api.http.large_bodies import SEND_PATH, LargeBodies


def slots(total: int, **rules: Any) -> FairSlots:
    return FairSlots("things", total, **rules)


class Holding:
    """Somebody who holds a slot until told to leave."""

    def __init__(self, place: FairSlots, holder: str) -> None:
        self.inside = asyncio.Event()
        self._leave = asyncio.Event()
        self.task = asyncio.create_task(self._run(place, holder))

    async def _run(self, place: FairSlots, holder: str) -> None:
        async with place.hold(holder):
            self.inside.set()
            await self._leave.wait()

    async def leave(self) -> None:
        self._leave.set()
        await self.task

    def let_go(self) -> None:
        self._leave.set()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@asynccontextmanager
async def ending(*holdings: Holding) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for each in holdings:
            each.task.cancel()
        await asyncio.gather(*(each.task for each in holdings), return_exceptions=True)


def inside(holdings: list[Holding]) -> list[bool]:
    return [each.inside.is_set() for each in holdings]


async def test_a_holder_leaves_a_slot_for_others() -> None:
    place = slots(2)
    first, second = Holding(place, "a"), Holding(place, "a")
    await settled()
    other = Holding(place, "b")
    await settled()
    async with ending(first, second, other):
        assert inside([first, second, other]) == [True, False, True]
        await other.leave()
        assert not second.inside.is_set()
        await first.leave()
        await settled()
        assert second.inside.is_set()


async def test_who_holds_fewest_is_served_first() -> None:
    place = slots(4)
    several = [Holding(place, "a") for _ in range(4)]
    await settled()
    assert inside(several) == [True, True, True, False]
    others = [Holding(place, "b"), Holding(place, "b"), Holding(place, "c")]
    await settled()
    async with ending(*several, *others):
        assert inside(others) == [True, False, False]
        await several[0].leave()
        await settled()
        assert not several[3].inside.is_set(), "it waits longest, and holds two"
        assert inside(others) == [True, False, True], "who holds none is served first"


async def test_two_holders_that_both_wait_for_more_leave_nothing_idle() -> None:
    place = slots(5)
    wanted = [Holding(place, name) for name in "aabb"]
    await settled()
    async with ending(*wanted):
        assert inside(wanted) == [True] * 4


async def test_a_holder_has_its_share_at_most() -> None:
    place = slots(6, most_each=2, spare=2, wait_seconds=0.02)
    held = [Holding(place, "a") for _ in range(2)]
    await settled()
    async with ending(*held):
        assert (inside(held), place.free) == ([True, True], 4)
        with pytest.raises(SlotsTaken) as caught:
            await place.take("a")
        assert caught.value.own
        more = [Holding(place, "b") for _ in range(2)]
        await settled()
        assert inside(more) == [True, True]
        last = [Holding(place, "b"), Holding(place, "c"), Holding(place, "d")]
        await settled()
        async with ending(*more, *last):
            assert inside(last) == [False, True, True], "what is spare is for those that have none"


async def test_a_single_slot_goes_round() -> None:
    place = slots(1)
    queue = [Holding(place, name) for name in "aab"]
    async with ending(*queue):
        for turn in (0, 1, 2):
            await settled()
            assert inside(queue[turn:]) == [True] + [False] * (2 - turn)
            await queue[turn].leave()


async def test_a_refusal_says_whose_doing_it_was() -> None:
    place = slots(2, wait_seconds=0.02)
    held = [Holding(place, "a"), Holding(place, "b")]
    await settled()
    async with ending(*held):
        with pytest.raises(SlotsTaken) as own:
            await place.take("a")
        assert own.value.own
        assert own.value.seconds > 0
        with pytest.raises(SlotsTaken) as others:
            await place.take("c")
        assert not others.value.own
        assert isinstance(others.value, Unavailable)
        await held[0].leave()
        after = Holding(place, "c")
        await settled()
        assert after.inside.is_set(), "those who gave up hold nothing"
        await after.leave()


async def test_the_waiting_are_bounded_in_all_and_of_one_holder() -> None:
    place = slots(2, waiting=5, waiting_each=2)
    held = [Holding(place, "a"), Holding(place, "b")]
    waiting = [Holding(place, "a") for _ in range(2)]
    await settled()
    async with ending(*held, *waiting):
        with pytest.raises(SlotsTaken) as caught:
            await place.take("a")
        assert caught.value.own
        waiting += [Holding(place, f"c{number}") for number in range(3)]
        await settled()
        async with ending(*waiting):
            with pytest.raises(SlotsTaken) as caught:
                await place.take("d")
            assert not caught.value.own


@pytest.mark.parametrize("granted", [False, True], ids=["while it waits", "as it gets its slot"])
async def test_a_slot_is_not_lost_with_a_client_that_goes(granted: bool) -> None:
    place = slots(1)
    held, gone, last = (Holding(place, name) for name in "aba")
    await settled()
    async with ending(held, gone, last):
        if granted:
            held.let_go()
            await asyncio.sleep(0)  # it gives its slot to the next, whose task has not run yet
        gone.task.cancel()
        await settled()
        assert not gone.inside.is_set()
        await held.leave()
        await settled()
        assert last.inside.is_set()


def request(length: str | None, path: str = SEND_PATH) -> Request:
    headers = [(b"host", b"x")] + ([] if length is None else [(b"content-length", length.encode())])
    return Request(
        {
            "type": "http",
            "method": "POST",
            "scheme": "http",
            "server": ("x", 80),
            "path": path,
            "query_string": b"",
            "headers": headers,
        }
    )


@pytest.mark.parametrize(
    ("length", "path", "held"),
    [
        (None, SEND_PATH, 1),  # without a length it counts as large
        ("2000000", SEND_PATH, 1),
        ("1048576", SEND_PATH, 0),
        ("2000000", "/v1/domains", 0),
    ],
)
async def test_large_requests_take_a_slot(length: str | None, path: str, held: int) -> None:
    work_for("a tenant")
    bodies = LargeBodies(2)
    async with bodies.room(request(length, path)):
        assert bodies.slots.held_by("a tenant") == held
    assert bodies.slots.free == 2
