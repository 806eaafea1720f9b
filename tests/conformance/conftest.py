"""Dialogues are held on the loop the services run on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import uvloop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Make every asynchronous test of this directory run on uvloop."""
    return {"uvloop": uvloop.new_event_loop}
