"""The next page is read while the present one is worked on."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from posthorn.ports.errors import Unavailable
from posthorn_imap.one_ahead import one_ahead


async def test_one_page_is_read_ahead_and_no_more() -> None:
    began: list[int] = []

    async def read(page: int) -> int:
        began.append(page)
        return page * 10

    seen = []
    async for found in one_ahead(range(4), read):
        await asyncio.sleep(0)
        seen.append((found, list(began)))
    assert seen == [(0, [0, 1]), (10, [0, 1, 2]), (20, [0, 1, 2, 3]), (30, [0, 1, 2, 3])]
    assert [found async for found in one_ahead([], read)] == []


async def test_a_fault_comes_in_the_order_of_its_page() -> None:
    async def read(page: int) -> int:
        if page == 1:
            raise Unavailable("postgres", "away")
        return page

    found = []
    with pytest.raises(Unavailable):
        async for each in one_ahead(range(3), read):
            await asyncio.sleep(0)
            found.append(each)
    assert found == [0]


async def test_who_leaves_early_waits_for_the_read_under_way() -> None:
    ended: list[int] = []
    going_on = asyncio.Event()

    async def read(page: int) -> int:
        if page:
            await going_on.wait()
            ended.append(page)
            raise Unavailable("postgres", "nobody hears of it")
        return page

    async def leave() -> None:
        async with aclosing(one_ahead(range(9), read)) as found:
            async for _ in found:
                return

    leaving = asyncio.create_task(leave())
    await asyncio.sleep(0.01)
    assert not leaving.done()
    going_on.set()
    await leaving
    assert ended == [1]
