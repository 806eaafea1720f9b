"""How checks that wait for DNS are run: in turn, or at once with ``asyncio.gather``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

type Gather = Callable[..., Awaitable[Sequence[Any]]]
"""Awaits its arguments and returns their results in order, as ``asyncio.gather`` does."""


async def in_turn(*waiting: Awaitable[Any]) -> Sequence[Any]:
    """Await one after the other."""
    return [await each for each in waiting]
