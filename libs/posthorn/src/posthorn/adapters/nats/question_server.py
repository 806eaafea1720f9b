"""The answering side of rare questions over NATS requests: any process of a queue group answers.

Rules:

- A process works on a few questions at a time; ``turn_away`` is told of further ones.
- A question is taken only from a part that ``may_ask``: it could name any subject for its answer,
  and the server would let it pass (``permissions``).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Self

from nats.aio.msg import Msg

from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.following import Following


class QuestionServer(ABC):
    """Answers questions of one subject while its context is open; on leaving, ends what it has
    begun. ``at_once``: questions under way at a time."""

    def __init__(self, connection: Connection, subject: str, queue: str, *, at_once: int) -> None:
        self._connection = connection
        self._at_once = at_once
        self._subject = subject
        self._running: set[asyncio.Task[None]] = set()
        self._following = Following(connection, {subject: self._on_question}, queue=queue)

    @abstractmethod
    def may_ask(self, reply: str) -> bool:
        """Return whether a part that listens on this subject may ask."""

    @abstractmethod
    async def answer(self, message: Msg) -> None:
        """Answer a question."""

    @abstractmethod
    async def turn_away(self, message: Msg) -> None:
        """Take note of a question too many."""

    async def __aenter__(self) -> Self:
        await self._following.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._following.stop(drains=True)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _on_question(self, message: Msg) -> None:
        if not self.may_ask(message.reply):
            return
        if len(self._running) >= self._at_once:
            await self.turn_away(message)
            return
        task = asyncio.create_task(self.answer(message), name=self._subject)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
