"""The state of the whole system, asked of all that know a part of it.

Rules:

- What does not answer is a fault in the answer, never a fault of the answer: the state is wanted
  most when something is down. Each store is asked for at most ``ASK_SECONDS``.
- Of the parked messages the first ``MOST_PARKED`` are counted by their reasons.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from posthorn.model.heartbeat import HEARTBEAT_SECONDS
from posthorn.ports.errors import Unavailable
from posthorn.ports.heartbeats import Heartbeats, Instance
from posthorn.ports.ingest import Backlog, DeadLetters
from posthorn.ports.system import StoredLags, StreamState
from posthorn_api.pending import Pending
from posthorn_api.system.events_lag import events_lag_seconds
from posthorn_api.system.problems import SystemProblem, problems_of

ASK_SECONDS: Final = 5.0
MOST_PARKED: Final = 500
_MOST_REASONS: Final = 20


@dataclass(frozen=True, slots=True)
class SystemState:
    """What is known; None: not known."""

    instances: Sequence[Instance] = ()
    listening_since: datetime | None = None
    is_complete: bool = False
    """Whether every process that runs has had the time to be heard."""
    backlog: Backlog | None = None
    dead_reasons: Mapping[str, int] = field(default_factory=dict)
    schema: str | None = None
    directory_seconds: float | None = None
    webhooks_seconds: float | None = None
    events_seconds: float | None = None
    faults: Mapping[str, str] = field(default_factory=dict)
    """Stores that did not answer, and why."""
    problems: Sequence[SystemProblem] = ()
    runbooks: str = ""
    """URL of the folder of the runbooks; empty: there is none."""


class SystemService:
    """Asks all at once."""

    def __init__(
        self,
        heartbeats: Pending[Heartbeats],
        streams: Pending[StreamState],
        dead_letters: Pending[DeadLetters],
        lags: StoredLags,
        runbook_base_url: str = "",
    ) -> None:
        self._heartbeats = heartbeats
        self._streams = streams
        self._dead_letters = dead_letters
        self._lags = lags
        self._runbooks = runbook_base_url.rstrip("/")

    async def state(self) -> SystemState:
        """Return the state of the system, with its problems."""
        faults: dict[str, str] = {}
        lags, found, events = await asyncio.gather(
            _known("postgres", self._lags.lags(), faults),
            _known("nats", self._backlog(), faults),
            _known("nats", self._events(), faults),
        )
        backlog, reasons = found or (None, {})
        now = datetime.now(UTC)
        state = SystemState(
            backlog=backlog,
            dead_reasons=reasons,
            schema=None if lags is None else lags.schema,
            directory_seconds=None if lags is None else lags.directory_seconds,
            webhooks_seconds=None if lags is None else lags.webhooks_seconds,
            events_seconds=events,
            faults=faults,
            runbooks=self._runbooks,
        )
        state = self._with_instances(state, now)
        return replace(state, problems=tuple(problems_of(state, now)))

    async def _backlog(self) -> tuple[Backlog, Mapping[str, int]]:
        backlog = await self._streams.get().backlog()
        if not backlog.dead:
            return backlog, {}
        parked = await self._dead_letters.get().parked(0, MOST_PARKED)
        return backlog, dict(Counter(each.reason for each in parked).most_common(_MOST_REASONS))

    async def _events(self) -> float:
        return await events_lag_seconds(self._streams.get(), self._lags)

    def _with_instances(self, state: SystemState, now: datetime) -> SystemState:
        try:
            heard = self._heartbeats.get()
        except Unavailable:
            return state
        since = heard.listening_since
        enough = timedelta(seconds=2 * HEARTBEAT_SECONDS)
        return replace(
            state,
            instances=heard.instances(),
            listening_since=since,
            is_complete=since is not None and now - since >= enough,
        )


async def _known[T](store: str, answer: Awaitable[T], faults: dict[str, str]) -> T | None:
    """Return an answer; None, with its fault noted, when there is none."""
    try:
        async with asyncio.timeout(ASK_SECONDS):
            return await answer
    except TimeoutError:
        faults[store] = "no answer in time"
    except Unavailable as fault:
        faults[fault.part] = "does not answer"
    return None
