"""Whole lists, read page by page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from posthorn.ports.listing import Listed, ListQuery


async def whole[T](read: Callable[[ListQuery], Awaitable[Listed[T]]], limit: int = 50) -> list[T]:
    """Return all items of a list, read by pages of ``limit``."""
    found = await read(ListQuery(limit))
    items = list(found.items)
    while found.last is not None:
        found = await read(ListQuery(limit, found.last))
        items += found.items
    return items
