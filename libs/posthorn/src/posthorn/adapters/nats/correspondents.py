"""The port Correspondents over NATS requests: smtp-in asks, any process of delivery answers.

Rules:

- It is asked rarely: only about a message that would be refused for its points alone. Each process
  of delivery answers a few questions at a time; further ones are not answered.
- An answer goes only to the inbox of smtp-in (``permissions``).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from contextlib import suppress
from typing import Final, Self

import structlog
from nats.aio.msg import Msg

from posthorn.adapters.nats.client import FAULTS
from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.following import Following
from posthorn.adapters.nats.permissions import inbox_prefix
from posthorn.model.streams import CORRESPONDENTS, CORRESPONDENTS_QUEUE
from posthorn.ports.correspondents import Correspondents
from posthorn.ports.errors import Unavailable
from posthorn.runtime.circuit_breaker import CircuitBreaker

log = structlog.get_logger()

SECONDS: Final = 2.0
"""How long an answer may take."""
_AT_ONCE: Final = 8
_MOST_RECIPIENTS: Final = 1000
_ASKER: Final = f"{inbox_prefix('smtp-in')}."


class NatsCorrespondents:
    """Asks."""

    def __init__(self, connection: Connection, *, seconds: float = SECONDS) -> None:
        self._connection = connection
        self._seconds = seconds
        self._breaker = CircuitBreaker()

    async def is_protected(self, author: str, recipients: Collection[str]) -> bool:
        """Ask; see the port."""
        if not self._breaker.allows():
            raise Unavailable("delivery", "it does not answer at present")
        question = {"author": author, "recipients": list(recipients)}
        try:
            answer = await self._connection.request(
                CORRESPONDENTS,
                json.dumps(question).encode(),
                timeout=self._seconds,
                to_stream=False,
            )
            found = json.loads(answer.data)["protected"]
        except (Unavailable, ValueError, KeyError, TypeError) as fault:
            self._breaker.failed()
            raise Unavailable("delivery", f"no answer: {type(fault).__name__}") from fault
        self._breaker.succeeded()
        return found is True


class NatsCorrespondentsServer:
    """Answers while its context is open."""

    def __init__(self, connection: Connection, correspondents: Correspondents) -> None:
        self._connection = connection
        self._correspondents = correspondents
        self._running: set[asyncio.Task[None]] = set()
        self._following = Following(
            connection, {CORRESPONDENTS: self._on_question}, queue=CORRESPONDENTS_QUEUE
        )

    async def __aenter__(self) -> Self:
        await self._following.start()
        with suppress(*FAULTS):
            await self._connection.client.flush()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._following.stop(drains=True)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _on_question(self, message: Msg) -> None:
        if not message.reply.startswith(_ASKER) or len(self._running) >= _AT_ONCE:
            return
        task = asyncio.create_task(self._answer(message), name="correspondents")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _answer(self, message: Msg) -> None:
        try:
            question = json.loads(message.data)
            author, recipients = str(question["author"]), list(question["recipients"])
            names = [str(each) for each in recipients[:_MOST_RECIPIENTS]]
            async with asyncio.timeout(SECONDS):
                found = await self._correspondents.is_protected(author, names)
            payload = {"protected": found}
        except (Unavailable, TimeoutError) as fault:
            log.info("correspondents cannot be looked up", detail=str(fault))
            return
        except Exception:
            log.exception("a question for correspondents could not be answered")
            return
        with suppress(Unavailable):
            await self._connection.publish(message.reply, json.dumps(payload).encode())
