"""The answering side of the questions to the scanning tier.

Rules:

- All processes subscribe as one queue group: NATS hands each question to one of them.
- A process works on a limited number of questions of each kind; beyond that it answers ``busy`` at
  once, so that the asker need not wait for its deadline.
- A question is dropped when its asker has stopped waiting.
- An answer goes only to the inbox of a part that may ask: a question could name any subject for its
  answer, and the server would let it pass (``permissions``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol, Self

import structlog
from nats.aio.msg import Msg
from prometheus_client import Counter

from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.following import Following
from posthorn.adapters.nats.permissions import PART_NAMES, inbox_prefix
from posthorn.adapters.nats.scan_payloads import (
    BUSY,
    PayloadError,
    decode_message_question,
    decode_reports,
    decode_sender_question,
    encode_error,
    encode_facts,
    encode_verdict_answer,
)
from posthorn.adapters.nats.scan_state import STATE_SECONDS, decode_question, encode_state
from posthorn.model.streams import (
    SCAN_MESSAGE,
    SCAN_QUEUE,
    SCAN_REPORT,
    SCAN_SENDER,
    SCAN_STATE,
)
from posthorn.model.verdict import Verdict
from posthorn.ports.errors import Unavailable
from posthorn.ports.scan import (
    MessageQuestion,
    Report,
    ScanStates,
    SenderFacts,
    SenderQuestion,
)
from posthorn.runtime.at_once import Begun

log = structlog.get_logger()

_turned_away = Counter(
    "posthorn_scan_turned_away_total",
    "Questions answered with busy, or not answered in time, by kind",
    ["kind", "reason"],
)
_ASKERS: Final = frozenset({"smtp-in", "submission", "api"})
_OTHERS: Final = tuple(f"{inbox_prefix(part)}." for part in PART_NAMES - _ASKERS)
_LONGEST_WAIT: Final = 60.0
_STATES: Final = 4


class Answerer(Protocol):
    """What answers the questions."""

    async def sender(self, question: SenderQuestion) -> SenderFacts:
        """Return what is known of a client."""
        ...

    async def message(self, question: MessageQuestion) -> Verdict:
        """Return the verdict on a message."""
        ...

    def report(self, reports: Sequence[Report]) -> None:
        """Take reports; neither fail nor wait."""
        ...


class NatsScanServer:
    """Answers questions while its context is open; on leaving, finishes what it has begun.

    ``states`` answers the API's questions. ``senders``, ``messages``: questions of each kind under
    way at a time. ``grace_seconds``: for those under way when the context is left.
    """

    def __init__(
        self,
        connection: Connection,
        answerer: Answerer,
        *,
        states: ScanStates | None = None,
        senders: int = 500,
        messages: int = 32,
        grace_seconds: float = 10.0,
    ) -> None:
        self._connection = connection
        self._answerer = answerer
        self._grace_seconds = grace_seconds
        self._states = states
        self._limits = {SCAN_SENDER: senders, SCAN_MESSAGE: messages, SCAN_STATE: _STATES}
        self._running: dict[str, set[asyncio.Task[None]]] = {
            SCAN_SENDER: set(),
            SCAN_MESSAGE: set(),
            SCAN_STATE: set(),
        }
        self._following = Following(
            connection,
            {
                SCAN_SENDER: self._on_sender,
                SCAN_MESSAGE: self._on_message,
                SCAN_REPORT: self._on_report,
                SCAN_STATE: self._on_state,
            },
            queue=SCAN_QUEUE,
        )

    async def __aenter__(self) -> Self:
        await self._following.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._following.stop(drains=True)
        running = [task for tasks in self._running.values() for task in tasks]
        if running:
            late = (await asyncio.wait(running, timeout=self._grace_seconds))[1]
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    @property
    def running(self) -> int:
        """Questions under way."""
        return sum(map(len, self._running.values()))

    async def probe(self) -> None:
        """Raise Unavailable while no questions are received."""
        if not self._connection.is_up or not self._following.is_open:
            raise Unavailable("nats", "not connected")

    async def _on_sender(self, message: Msg) -> None:
        await self._admit(SCAN_SENDER, message, self._answer_sender)

    async def _on_message(self, message: Msg) -> None:
        await self._admit(SCAN_MESSAGE, message, self._answer_message)

    async def _on_state(self, message: Msg) -> None:
        await self._admit(SCAN_STATE, message, self._answer_state)

    async def _on_report(self, message: Msg) -> None:
        with suppress(PayloadError):
            self._answerer.report(decode_reports(message.data))

    async def _admit(
        self, kind: str, message: Msg, answer: Callable[[bytes], Awaitable[bytes]]
    ) -> None:
        reply = message.reply
        if not reply.startswith("_INBOX.") or reply.startswith(_OTHERS):
            return
        running = self._running[kind]
        if len(running) >= self._limits[kind]:
            _turned_away.labels(kind.rpartition(".")[2], "busy").inc()
            await self._reply(reply, BUSY)
            return
        task = asyncio.create_task(self._work(kind, message.data, reply, answer), name=kind)
        running.add(task)
        task.add_done_callback(running.discard)

    async def _work(
        self, kind: str, data: bytes, reply: str, answer: Callable[[bytes], Awaitable[bytes]]
    ) -> None:
        try:
            payload = await answer(data)
        except TimeoutError:
            _turned_away.labels(kind.rpartition(".")[2], "late").inc()
            return
        except (PayloadError, Unavailable) as error:
            payload = encode_error(str(error))
        except Exception as error:
            log.exception("a question could not be answered", kind=kind)
            payload = encode_error(type(error).__name__)
        await self._reply(reply, payload)

    async def _answer_sender(self, data: bytes) -> bytes:
        question, wait = decode_sender_question(data)
        async with asyncio.timeout(min(wait, _LONGEST_WAIT)):
            return encode_facts(await self._answerer.sender(question))

    async def _answer_message(self, data: bytes) -> bytes:
        question, wait = decode_message_question(data)
        judging = Begun(self._answerer.message(question))
        if judging.is_done:
            return encode_verdict_answer(await judging.result())
        async with asyncio.timeout(min(wait, _LONGEST_WAIT)):
            return encode_verdict_answer(await judging.result())

    async def _answer_state(self, data: bytes) -> bytes:
        if self._states is None:
            raise Unavailable("scan", "it tells no state")
        async with asyncio.timeout(STATE_SECONDS):
            return encode_state(await self._states.state(decode_question(data)))

    async def _reply(self, reply: str, payload: bytes) -> None:
        with suppress(Unavailable):
            await self._connection.publish(reply, payload)
