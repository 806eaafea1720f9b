"""The tier as a whole: answers the questions of smtp-in and takes its reports."""

from __future__ import annotations

import time
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import structlog

from posthorn.model.events import SCANNED, Event
from posthorn.model.verdict import Verdict, encode_verdict
from posthorn.ports.events import Events
from posthorn.ports.scan import MessageQuestion, Report, SenderFacts, SenderQuestion
from posthorn.runtime import traces
from posthorn_scan.contents import Contents
from posthorn_scan.first_tries import FirstTries
from posthorn_scan.judge import Judge
from posthorn_scan.networks import NetworkDefence
from posthorn_scan.sender import SenderChecks
from posthorn_scan.tracing import about_verdict

log = structlog.get_logger()


class Tier:
    """Answers questions."""

    def __init__(
        self,
        senders: SenderChecks,
        judge: Judge,
        contents: Contents,
        defence: NetworkDefence,
        first_tries: FirstTries,
        events: Events,
    ) -> None:
        self._senders, self._judge, self._contents = senders, judge, contents
        self._defence, self._first_tries, self._events = defence, first_tries, events

    async def sender(self, question: SenderQuestion) -> SenderFacts:
        """Return what is known of a client."""
        return await self._senders.facts(question)

    async def message(self, question: MessageQuestion) -> Verdict:
        """Return the verdict on a message. Raises Unavailable if its content cannot be read."""
        verdict = await self._traced(question, self._judged(question))
        self._record(question.message_id, question.recipients, verdict)
        return verdict

    async def judge(self, question: MessageQuestion, content: bytes) -> Verdict:
        """Return the verdict on a message that was accepted and whose content is at hand, and
        record it."""
        verdict = await self._traced(question, self._judge.judge(question, content))
        self._record(question.message_id, question.recipients, verdict)
        return verdict

    async def _judged(self, question: MessageQuestion) -> Verdict:
        async with self._contents.of(question) as content:
            verdict = await self._judge.judge(question, content)
            if await self._first_tries.is_one(question, verdict, content):
                verdict = replace(verdict, come_again=True)
        return verdict

    def _traced(
        self, question: MessageQuestion, work: Coroutine[Any, Any, Verdict]
    ) -> Coroutine[Any, Any, Verdict]:
        message = traces.if_sampled(question.message_id)
        return traces.timed(message, traces.SCAN, work, about_verdict(question.size))

    def report(self, reports: Sequence[Report]) -> None:
        """Take reports; neither fail nor wait."""
        self._defence.report(reports)

    def _record(self, message_id: str, recipients: Sequence[str], verdict: Verdict) -> None:
        try:
            message = UUID(message_id)
        except ValueError:
            return
        found = {"score": verdict.score, **encode_verdict(verdict)}
        detail = {**found, "recipients": list(recipients)}
        self._events.record(Event(message, time.time(), SCANNED, detail))
        log.debug(
            "scanned",
            message=message_id,
            score=verdict.score,
            virus=verdict.virus,
            dmarc=verdict.authentication.dmarc.outcome.value,
            complete=verdict.is_complete,
        )
