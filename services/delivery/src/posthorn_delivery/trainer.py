"""Training: teaches what owners say of their messages to the models of account and tenant.

Rules:

- One process trains at a time, under a lease.
- A lesson's message is read by range and tokenized off the event loop. When it is taken back or
  changed, its stored tokens are used, so that the message need not be there any more.
- A message that was deleted before it was read teaches nothing. A lesson that fails is tried
  again, ``MOST_ATTEMPTS`` times in all, and delays no others.
- Only classifications by owners are taught, never a verdict of ours: it would confirm itself.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import aclosing
from uuid import UUID

import structlog
from prometheus_client import Counter

from posthorn.model.classification import Classification
from posthorn.ports.bodies import BodyReader
from posthorn.ports.errors import Unavailable
from posthorn.ports.training import DueLesson, PreparedLesson, Training
from posthorn.wire.spam.facts import read_facts
from posthorn.wire.spam.tokens import TokensError, decode_tokens, tokens_of

log = structlog.get_logger()

_lessons = Counter(
    "posthorn_delivery_lessons_total",
    "Classifications of owners that were handled, by what was said and the result",
    ["classification", "result"],
)
_faults = Counter(
    "posthorn_delivery_training_faults_total", "Rounds of training ended by a fault", ["part"]
)

LOOK_SECONDS = 5.0
"""Seconds between two rounds."""
LEASE_SECONDS = 60.0
READ_BYTES = 256 * 1024
"""Bytes of a message that are read to tokenize it."""
MOST_ATTEMPTS = 12
"""Over more than a day, so that an outage of the blob store costs no lesson."""
FIRST_DELAY_SECONDS = 30.0
"""Seconds until the second attempt; twice as long for each further one."""
_AT_ONCE = 50
_FORGET_SECONDS = 3600.0
_FORGOTTEN_AT_ONCE = 1000


class Trainer:
    """Teaches what is due."""

    def __init__(
        self,
        training: Training,
        bodies: BodyReader,
    ) -> None:
        self._training = training
        self._bodies = bodies
        self._forget_at = 0.0

    async def run(self) -> None:
        """Teach until cancelled; run as a supervised task."""
        while True:
            try:
                while await self.round() >= _AT_ONCE:
                    pass
            except Unavailable as fault:
                _faults.labels(fault.part).inc()
                log.warning("training waits", fault=fault)
            await asyncio.sleep(LOOK_SECONDS)

    async def round(self) -> int:
        """Teach some of what is due, if this process leads; return how many lessons were looked
        at. Raises Unavailable."""
        if not await self._training.lead(LEASE_SECONDS):
            return 0
        due = await self._training.due(_AT_ONCE)
        by_tenant: defaultdict[UUID, list[PreparedLesson]] = defaultdict(list)
        for lesson in due:
            prepared = await self._prepared(lesson)
            if prepared is not None:
                by_tenant[lesson.tenant].append(prepared)
        for tenant, lessons in by_tenant.items():
            try:
                await self._teach(tenant, lessons)
            except Unavailable:
                raise
            except Exception as fault:  # of one tenant, and no reason to end the process
                log.exception("a tenant's lessons cannot be taught", tenant=str(tenant))
                for each in lessons:
                    await self._put_off(each.due, fault)
        if time.monotonic() >= self._forget_at:
            while await self._training.forget(_FORGOTTEN_AT_ONCE) >= _FORGOTTEN_AT_ONCE:
                pass
            self._forget_at = time.monotonic() + _FORGET_SECONDS
        return len(due)

    async def _teach(self, tenant: UUID, lessons: Sequence[PreparedLesson]) -> None:
        count = await self._training.teach(tenant, lessons)
        for each in lessons:
            is_learned = each.tokens is not None or each.due.wanted is Classification.NONE
            _lessons.labels(each.due.wanted.value, "taught" if is_learned else "gone").inc()
        log.info("lessons taught", tenant=str(tenant), lessons=count)

    async def _prepared(self, lesson: DueLesson) -> PreparedLesson | None:
        """Return a lesson with its tokens; None: it is tried later."""
        if lesson.wanted is Classification.NONE:
            return PreparedLesson(lesson, None)
        if lesson.tokens is not None:
            try:
                return PreparedLesson(lesson, decode_tokens(lesson.tokens))
            except TokensError:
                pass  # of another release: made anew
        if lesson.location is None:
            return PreparedLesson(lesson, None)
        try:
            return PreparedLesson(lesson, await self._tokens(lesson))
        except Unavailable as fault:  # one damaged message must not hold up the others
            await self._put_off(lesson, fault)
        except Exception as fault:
            log.exception("a message cannot be tokenized", message=str(lesson.message))
            await self._put_off(lesson, fault)
        return None

    async def _tokens(self, lesson: DueLesson) -> tuple[int, ...]:
        assert lesson.location is not None
        content = bytearray()
        async with aclosing(self._bodies.stream(lesson.location)) as pieces:
            async for piece in pieces:
                content += piece
                if len(content) >= READ_BYTES:
                    break
        return await asyncio.to_thread(_tokens_of, bytes(content[:READ_BYTES]))

    async def _put_off(self, lesson: DueLesson, fault: Exception) -> None:
        is_last = lesson.attempts + 1 >= MOST_ATTEMPTS
        delay = FIRST_DELAY_SECONDS * 2**lesson.attempts
        await self._training.postpone(lesson, None if is_last else delay)
        if is_last:
            _lessons.labels(lesson.wanted.value, "gave_up").inc()
        log.warning(
            "a lesson is given up" if is_last else "a lesson is put off",
            message=str(lesson.message),
            account=lesson.account,
            detail=str(fault),
        )


def _tokens_of(content: bytes) -> tuple[int, ...]:
    return tokens_of(read_facts(content))
