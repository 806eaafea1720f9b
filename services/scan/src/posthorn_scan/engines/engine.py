"""What engines have in common: limits, deadlines, a breaker, and a state that people can see."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Protocol

import structlog
from prometheus_client import Counter, Gauge, Histogram

from posthorn.model.verdict import DETAIL_LIMIT, Engine, EngineState, Rule
from posthorn.ports.scan import MessageQuestion
from posthorn.runtime.circuit_breaker import CircuitBreaker
from posthorn.runtime.outage import Outage
from posthorn_scan.settings import Away

log = structlog.get_logger()

_seconds = Histogram(
    "posthorn_scan_engine_seconds",
    "Time that an engine took for a message",
    ["engine"],
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
)
_results = Counter("posthorn_scan_engine_results_total", "What engines did", ["engine", "state"])
_up = Gauge("posthorn_scan_engine_up", "1 while an engine answers", ["engine"])
_PROBE_SECONDS = 15.0


class EngineDown(Exception):
    """It does not answer, or answers with an error, which the text names."""


class EngineTooLarge(Exception):
    """The message is larger than the engine takes."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What an engine found."""

    rules: tuple[Rule, ...] = ()
    virus: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class EngineResult:
    """An engine's part in a verdict."""

    engine: Engine
    findings: Findings = field(default_factory=Findings)
    away: Away | None = None
    """What the settings say, if it did not judge the message because it is away."""


class EngineClient(Protocol):
    """An engine, as it is asked."""

    name: str

    async def scan(
        self, content: bytes, question: MessageQuestion, *, client_name: str
    ) -> Findings:
        """Judge a message. ``client_name``: the confirmed name of the client, or empty. Raises
        EngineDown and EngineTooLarge; the caller limits the time."""
        ...

    async def probe(self) -> str:
        """Return a text on its version for people. Raises EngineDown."""
        ...


class ConfiguredEngine:
    """An engine with its settings.

    An error is of the message perhaps, not of the engine: senders must not be able to make it count
    as away for others. So it is asked for its version at once when errors open its breaker. Time
    that runs out is another matter, since an engine with too much to do answers for its version.
    """

    def __init__(
        self,
        client: EngineClient,
        *,
        seconds: float,
        max_bytes: int,
        away: Away,
    ) -> None:
        self.name = client.name
        self.detail = "not asked yet"
        """Its version, or why it is away, for people."""
        self._client = client
        self._seconds, self._max_bytes, self._away = seconds, max_bytes, away
        self._breaker = CircuitBreaker(failures=3, rest_seconds=2.0, longest_rest_seconds=30.0)
        self._outage = Outage("an engine is away", "an engine answers again", "error")
        self._looking: asyncio.Task[None] | None = None
        _up.labels(self.name).set(1)

    @property
    def is_up(self) -> bool:
        """Whether it answered last."""
        return not self._outage.is_on

    async def scan(
        self, content: bytes, question: MessageQuestion, *, client_name: str
    ) -> EngineResult:
        """Ask it, within its limits; never raises but for cancellation."""
        if self.name not in question.engines:
            return self._result(EngineState.SKIPPED, 0.0, "not asked for")
        if len(content) > self._max_bytes:
            return self._result(EngineState.TOO_LARGE, 0.0, f"over {self._max_bytes} bytes")
        if not self._breaker.allows():
            return self._result(EngineState.DOWN, 0.0, "it does not answer at present")
        began = time.monotonic()
        findings = Findings()
        try:
            async with asyncio.timeout(self._seconds):
                findings = await self._client.scan(content, question, client_name=client_name)
            state, detail = EngineState.OK, findings.detail
        except EngineTooLarge as fault:
            state, detail = EngineState.TOO_LARGE, str(fault)
        except TimeoutError:
            state, detail = EngineState.TIMEOUT, f"no answer in {self._seconds:g} s"
        except EngineDown as fault:
            state, detail = EngineState.DOWN, str(fault)
        except Exception as fault:
            log.exception("an engine's client failed", engine=self.name)
            state, detail = EngineState.DOWN, type(fault).__name__
        if state in (EngineState.TIMEOUT, EngineState.DOWN):
            was_open = self._breaker.is_open
            self._failed(detail)
            if state is EngineState.DOWN and self._breaker.is_open and not was_open:
                self._looking = asyncio.create_task(self.look(), name=f"look at {self.name}")
        else:
            self._answered()
        return self._result(state, time.monotonic() - began, detail, findings)

    async def watch(self) -> None:
        """Ask it for its version now and then, until cancelled, so that its state is known without
        messages."""
        while True:
            await self.look()
            await asyncio.sleep(_PROBE_SECONDS)

    async def look(self) -> None:
        """Ask it for its version once."""
        try:
            async with asyncio.timeout(self._seconds):
                detail = await self._client.probe()
        except (EngineDown, TimeoutError) as fault:
            self._failed(str(fault) or "no answer in time")
            return
        self._answered()
        self.detail = detail

    def state(self) -> str:
        """Return a text on its state, for people."""
        return f"{'away' if self._outage.is_on else 'ok'}: {self.detail}"

    def _answered(self) -> None:
        self._breaker.succeeded()
        self._outage.end(engine=self.name)
        _up.labels(self.name).set(1)

    def _failed(self, detail: str) -> None:
        self._breaker.failed()
        self.detail = detail
        if self._breaker.is_open and self._outage.begin(engine=self.name, detail=detail):
            _up.labels(self.name).set(0)

    def _result(
        self, state: EngineState, seconds: float, detail: str, findings: Findings | None = None
    ) -> EngineResult:
        _results.labels(self.name, state.value).inc()
        if seconds:
            _seconds.labels(self.name).observe(seconds)
        is_away = state in (EngineState.TIMEOUT, EngineState.DOWN)
        return EngineResult(
            Engine(self.name, state, round(seconds * 1000), detail[:DETAIL_LIMIT]),
            findings or Findings(),
            self._away if is_away else None,
        )
