"""Places for large requests: nobody holds all of them, and nobody waits without end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest
from fastapi import Request

from posthorn.ports.administration import ApiKey, Role
from posthorn.ports.faults import Unavailable
from posthorn.runtime.ids import new_id
from posthorn_api import large_bodies
from posthorn_api.large_bodies import SEND_PATH, WAITING, WAITING_OF_ONE, LargeBodies
from posthorn_api.sending_service import Throttled


def key(tenant: UUID | None = None) -> ApiKey:
    return ApiKey(new_id(), "a key", Role.SEND_ONLY if tenant else Role.PLATFORM_ADMIN, tenant)


def request(caller: ApiKey, length: str | None = "2000000", path: str = SEND_PATH) -> Request:
    headers = [(b"host", b"x")] + ([] if length is None else [(b"content-length", length.encode())])
    made = Request(
        {
            "type": "http",
            "method": "POST",
            "scheme": "http",
            "server": ("x", 80),
            "path": path,
            "query_string": b"",
            "headers": headers,
            "state": {},
        }
    )
    made.state.caller = caller
    return made


class Holding:
    """A request that holds its place until it is told to leave."""

    def __init__(self, places: LargeBodies, made: Request) -> None:
        self.inside = asyncio.Event()
        self._leave = asyncio.Event()
        self.task = asyncio.create_task(self._run(places, made))

    async def _run(self, places: LargeBodies, made: Request) -> None:
        async with places.room(made):
            self.inside.set()
            await self._leave.wait()

    async def leave(self) -> None:
        self._leave.set()
        await self.task


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


async def test_keys_of_one_tenant_leave_a_place_for_others() -> None:
    places, tenant = LargeBodies(2), new_id()
    first, second = Holding(places, request(key(tenant))), Holding(places, request(key(tenant)))
    await settled()
    other = Holding(places, request(key()))
    await settled()
    async with ending(first, second, other):
        assert (first.inside.is_set(), second.inside.is_set(), other.inside.is_set()) == (True, False, True)
        await other.leave()
        assert not second.inside.is_set()
        await first.leave()
        await settled()
        assert second.inside.is_set()


async def test_a_holder_gets_more_while_nobody_waits_and_one_stays_free() -> None:
    places, mine, theirs, third = LargeBodies(4), key(), key(), key()
    several = [Holding(places, request(mine)) for _ in range(4)]
    await settled()
    assert [each.inside.is_set() for each in several] == [True, True, True, False]
    others = [Holding(places, request(theirs)), Holding(places, request(theirs)), Holding(places, request(third))]
    await settled()
    async with ending(*several, *others):
        assert [each.inside.is_set() for each in others] == [True, False, False]
        await several[0].leave()
        await settled()
        assert not several[3].inside.is_set(), "it waits longest, and holds two"
        assert [each.inside.is_set() for each in others] == [True, False, True], "who holds none is served first"


async def test_a_single_place_goes_round() -> None:
    places, mine, theirs = LargeBodies(1), key(), key()
    queue = [Holding(places, request(each)) for each in (mine, mine, theirs)]
    async with ending(*queue):
        for turn in (0, 1, 2):
            await settled()
            assert [each.inside.is_set() for each in queue[turn:]] == [True] + [False] * (2 - turn)
            await queue[turn].leave()


async def test_who_waits_for_its_own_places_is_throttled_and_who_waits_for_others_is_told_to_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(large_bodies, "WAIT_SECONDS", 0.02)
    places, mine, theirs = LargeBodies(2), key(), key()
    held = [Holding(places, request(mine)), Holding(places, request(theirs))]
    await settled()
    async with ending(*held):
        with pytest.raises(Throttled) as caught:
            await Holding(places, request(mine)).task
        assert caught.value.seconds > 0
        with pytest.raises(Unavailable):
            await Holding(places, request(key())).task
        await held[0].leave()
        after = Holding(places, request(key()))
        await settled()
        assert after.inside.is_set(), "those who gave up hold nothing"
        await after.leave()


async def test_the_waiting_are_bounded_in_all_and_of_one_holder() -> None:
    places, mine = LargeBodies(2), key()
    held = [Holding(places, request(mine)), Holding(places, request(key()))]
    waiting = [Holding(places, request(mine)) for _ in range(WAITING_OF_ONE)]
    await settled()
    async with ending(*held, *waiting):
        with pytest.raises(Throttled):
            await Holding(places, request(mine)).task
        waiting += [Holding(places, request(key())) for _ in range(WAITING - WAITING_OF_ONE)]
        await settled()
        async with ending(*waiting):
            with pytest.raises(Unavailable):
                await Holding(places, request(key())).task


@pytest.mark.parametrize("granted", [False, True], ids=["while it waits", "as it gets its place"])
async def test_a_place_is_not_lost_with_a_client_that_goes(granted: bool) -> None:
    places, mine, theirs = LargeBodies(1), key(), key()
    held, gone, last = (Holding(places, request(each)) for each in (mine, theirs, mine))
    await settled()
    async with ending(held, gone, last):
        if granted:
            held._leave.set()
            await asyncio.sleep(0)  # it gives its place to the next, whose task has not run yet
        gone.task.cancel()
        await settled()
        assert not gone.inside.is_set()
        await held.leave()
        await settled()
        assert last.inside.is_set()


@pytest.mark.parametrize(("length", "path"), [("1048576", SEND_PATH), ("2000000", "/v1/domains")])
async def test_small_requests_and_other_operations_need_no_place(length: str, path: str) -> None:
    places = LargeBodies(1)
    held = Holding(places, request(key(), length=None))
    await settled()
    async with ending(held), places.room(request(key(), length, path)):
        assert held.inside.is_set(), "without a length it counts as large"
