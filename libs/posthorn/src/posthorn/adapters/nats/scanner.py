"""The port Scanner over NATS requests: the asking side.

Rules:

- Nobody is there: NATS says so at once, and so does this. Somebody is there and does not answer:
  after a few such questions only one is asked now and then (``runtime.circuit_breaker``), each kind
  of question for itself.
- A process that is busy says so at once; the question is asked once more, since another process
  may get it.
- A question that NATS would not take (``max_payload``) is not sent.
- Reports are gathered for a moment and sent without waiting; without a connection they are lost.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.errors import NoAnswer, NoResponders
from posthorn.adapters.nats.scan_payloads import (
    BUSY,
    MOST_REPORTS,
    PayloadError,
    decode_facts,
    decode_verdict_answer,
    encode_message_question,
    encode_reports,
    encode_sender_question,
)
from posthorn.model.streams import SCAN_MESSAGE, SCAN_REPORT, SCAN_SENDER
from posthorn.model.verdict import Verdict
from posthorn.ports.errors import Unavailable
from posthorn.ports.scan import (
    MessageQuestion,
    Report,
    ScanUnavailable,
    SenderFacts,
    SenderQuestion,
)
from posthorn.runtime.circuit_breaker import CircuitBreaker
from posthorn.runtime.outage import Outage

_TRIES = 2
_GATHER_SECONDS = 0.2


class NatsScanner:
    """Scanner on NATS. ``sender_seconds``, ``message_seconds``: deadlines of the questions."""

    def __init__(
        self, connection: Connection, *, sender_seconds: float = 2.0, message_seconds: float = 10.0
    ) -> None:
        self._connection = connection
        self._sender_seconds, self._message_seconds = sender_seconds, message_seconds
        self._breakers = {SCAN_SENDER: CircuitBreaker(), SCAN_MESSAGE: CircuitBreaker()}
        self._outages = {
            subject: Outage(
                "the scanning tier does not answer", "the scanning tier answers again", "error"
            )
            for subject in (SCAN_SENDER, SCAN_MESSAGE)
        }
        self._reports: dict[tuple[str, str], int] = {}
        self._sending: asyncio.Task[None] | None = None

    async def sender(self, question: SenderQuestion) -> SenderFacts:
        seconds = self._sender_seconds
        answer = await self._ask(SCAN_SENDER, encode_sender_question(question, seconds), seconds)
        try:
            return decode_facts(answer)
        except PayloadError as error:
            raise ScanUnavailable(str(error)) from error

    async def message(self, question: MessageQuestion) -> Verdict:
        seconds = self._message_seconds
        answer = await self._ask(SCAN_MESSAGE, encode_message_question(question, seconds), seconds)
        try:
            return decode_verdict_answer(answer)
        except PayloadError as error:
            raise ScanUnavailable(str(error)) from error

    def report(self, report: Report) -> None:
        """Call it in the event loop."""
        key = report.client, report.kind
        if key not in self._reports and len(self._reports) >= MOST_REPORTS:
            return
        self._reports[key] = self._reports.get(key, 0) + report.count
        if self._sending is None:
            self._sending = asyncio.create_task(self._send(), name="scan reports")

    async def _ask(self, subject: str, payload: bytes, seconds: float) -> bytes:
        breaker = self._breakers[subject]
        most = self._connection.client.max_payload
        if 0 < most < len(payload):
            raise ScanUnavailable("the message is too large for a question")
        if not breaker.allows():
            raise ScanUnavailable("it does not answer at present")
        try:
            async with asyncio.timeout(seconds):
                for _ in range(_TRIES):
                    answer = await self._connection.request(
                        subject, payload, timeout=None, to_stream=False
                    )
                    breaker.succeeded()
                    if answer.data != BUSY:
                        self._note(subject)
                        return answer.data
        except NoResponders:
            breaker.succeeded()
            self._note(subject, "nobody scans")
            raise ScanUnavailable("nobody scans") from None
        except (NoAnswer, TimeoutError):
            breaker.failed()
            if breaker.is_open:
                self._note(subject, "no verdict in time")
            raise ScanUnavailable("no verdict in time") from None
        except Unavailable as error:
            raise ScanUnavailable(str(error)) from error
        raise ScanUnavailable("it has too much to do")

    def _note(self, subject: str, fault: str = "") -> None:
        """Log that the tier ceases to answer, and that it answers again."""
        if fault:
            self._outages[subject].begin(question=subject, detail=fault)
        else:
            self._outages[subject].end(question=subject)

    async def _send(self) -> None:
        try:
            while self._reports:
                await asyncio.sleep(_GATHER_SECONDS)
                reports = [Report(*key, count) for key, count in self._reports.items()]
                self._reports = {}
                with suppress(Unavailable):
                    await self._connection.publish(SCAN_REPORT, encode_reports(reports))
        finally:
            self._sending = None
