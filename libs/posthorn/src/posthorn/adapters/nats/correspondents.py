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
from typing import Final

import structlog
from nats.aio.msg import Msg

from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.permissions import inbox_prefix
from posthorn.adapters.nats.question_server import QuestionServer
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


class NatsCorrespondentsServer(QuestionServer):
    """Answers while its context is open."""

    def __init__(self, connection: Connection, correspondents: Correspondents) -> None:
        super().__init__(connection, CORRESPONDENTS, CORRESPONDENTS_QUEUE, at_once=_AT_ONCE)
        self._correspondents = correspondents

    def may_ask(self, reply: str) -> bool:
        """Return whether it is the inbox of smtp-in."""
        return reply.startswith(_ASKER)

    async def turn_away(self, message: Msg) -> None:
        """Leave it without an answer."""

    async def answer(self, message: Msg) -> None:
        """Look up, and answer unless that fails."""
        try:
            question = json.loads(message.data)
            author, recipients = str(question["author"]), list(question["recipients"])
            names = [str(each) for each in recipients[:_MOST_RECIPIENTS]]
            async with asyncio.timeout(SECONDS):
                found = await self._correspondents.is_protected(author, names)
            payload = {"protected": found}
        except (Unavailable, TimeoutError) as fault:
            log.info("correspondents cannot be looked up", fault=fault)
            return
        except Exception:
            log.exception("a question for correspondents could not be answered")
            return
        with suppress(Unavailable):
            await self._connection.publish(message.reply, json.dumps(payload).encode())
