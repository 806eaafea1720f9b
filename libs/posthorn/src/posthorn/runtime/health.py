"""/healthz, /readyz and /metrics, the same for every service.

- ``/healthz``: 200 while the event loop runs. It uses nothing else, so that a fault elsewhere never
  restarts a pod.
- ``/readyz``: 200 when the process has started, is not draining and each required part answered a
  real, cheap operation within the last seconds; else 503. The body names each part, and in
  ``details`` what the process works without. Results are cached briefly.
- ``/metrics``: Prometheus text.

The process checks its parts also when nobody asks: the log says once that a part does not serve, with
the reason, and once that it serves again.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any

import structlog
from prometheus_client import REGISTRY, Histogram, generate_latest

from posthorn.ports.errors import Halted, Unavailable
from posthorn.runtime.tls import Certificate

log = structlog.get_logger()

type Probe = Callable[[], Awaitable[None]]
"""Does one real operation; raises Unavailable when the part does not serve."""

_PROBE_TIMEOUT = 3.0
_KEPT_FOR = 2.0
_WATCH_SECONDS = 5.0
START_SECONDS = 30.0
"""For which it is no error that a part does not serve yet."""

_probed = Histogram(
    "posthorn_process_probe_seconds",
    "Time of the cheap operation by which the process checks a part; 3 where it gave no answer in time",
    ["part"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)


async def _own_metrics() -> str:
    return generate_latest(REGISTRY).decode()


class Health:
    """Health of a process. An ASGI application."""

    def __init__(self) -> None:
        self.started = False
        self.draining = False
        self.since = datetime.now(UTC)
        """When the process began."""
        self.certificate: Certificate | None = None
        """The certificate that its listeners use."""
        self._probes: dict[str, Probe] = {}
        self._details: dict[str, Callable[[], str]] = {}
        self._kept: dict[str, tuple[float, str]] = {}
        self._away: dict[str, tuple[str, float]] = {}
        """By part that did not serve when it was asked last, which part is the cause, and since
        when (monotonic seconds)."""
        self._served: set[str] = set()
        """Parts that have served since the start."""
        self._starting: set[str] = set()
        """Causes that are no error while the process starts."""
        self._lock = asyncio.Lock()
        self.metrics: Callable[[], Awaitable[str]] = _own_metrics
        """Returns the metrics page."""

    def add_check(self, part: str, probe: Probe) -> None:
        """Make readiness depend on a part."""
        self._probes[part] = probe

    def add_detail(self, name: str, detail: Callable[[], str]) -> None:
        """Show a text, without secrets, that readiness does not depend on."""
        self._details[name] = detail

    async def readiness(self) -> tuple[bool, dict[str, str]]:
        """Return (ready, state by part); a state is ``ok`` or a short reason without secrets. While
        the process drains no part is asked, and the state is the last one known: an answer would
        change nothing, and one that does not come would hold up the end."""
        if self.draining:
            return False, {
                part: self._kept[part][1] if part in self._kept else "not asked"
                for part in self._probes
            }
        async with self._lock:
            parts = tuple(self._probes)  # a start may add one meanwhile
            found = await asyncio.gather(*map(self._state, parts))
            states = dict(zip(parts, found, strict=True))
        ready = (
            self.started and not self.draining and all(state == "ok" for state in states.values())
        )
        return ready, states

    async def _state(self, part: str) -> str:
        kept = self._kept.get(part)
        if kept and time.monotonic() - kept[0] < _KEPT_FOR:
            return kept[1]
        began = time.monotonic()
        cause, reason = part, ""
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT):
                await self._probes[part]()
            state = "ok"
        except TimeoutError:
            state = reason = "no answer in time"
        except Halted as fault:
            state = reason = fault.detail  # tells what an operator must decide
        except Unavailable as fault:
            state, cause, reason = "unavailable", fault.part, fault.detail or "does not answer"
        except Exception:
            log.exception("the probe of a part failed", part=part)
            state = "probe failed"
        now = time.monotonic()
        _probed.labels(part).observe(now - began)
        self._kept[part] = (now, state)
        if state == "ok":
            self._served.add(part)
        self._note(part, now, cause, reason)
        return state

    def _note(self, part: str, now: float, cause: str, reason: str) -> None:
        """Log the first part that begins to miss a cause, and the last one that ceases to."""
        before, since = self._away.pop(part, ("", now))
        missed = {each for each, _ in self._away.values()}
        if reason:
            self._away[part] = (cause, since if cause == before else now)
            age = (datetime.now(UTC) - self.since).total_seconds()
            is_fault = part in self._served or age > START_SECONDS
            is_new = cause != before and cause not in missed
            if is_fault and (is_new or cause in self._starting):
                log.error("a part does not serve", part=cause, detail=reason)
                self._starting.discard(cause)
            elif is_new:
                log.info("a part does not serve yet", part=cause, detail=reason)
                self._starting.add(cause)
        elif before and before not in missed:
            self._starting.discard(before)
            log.info("a part serves again", part=before, seconds=round(now - since))

    async def watch(self) -> None:
        """Check the parts for ever, so that the log says when one begins and ceases to serve."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            await self.readiness()

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        """Answer one HTTP request (ASGI)."""
        if scope["type"] != "http":
            return
        status, kind, body = (
            404,
            b"text/plain",
            b"not here; there are /healthz, /readyz and /metrics\n",
        )
        match scope["path"]:
            case "/healthz":
                status, kind, body = 200, b"application/json", b'{"status":"alive"}\n'
            case "/readyz":
                ready, states = await self.readiness()
                document: dict[str, Any] = {
                    "ready": ready,
                    "draining": self.draining,
                    "started": self.started,
                    "parts": states,
                }
                if self._details:
                    document["details"] = {name: text() for name, text in self._details.items()}
                status, kind, body = (
                    200 if ready else 503,
                    b"application/json",
                    json.dumps(document).encode() + b"\n",
                )
            case "/metrics":
                status, kind, body = (
                    200,
                    b"text/plain; version=0.0.4; charset=utf-8",
                    (await self.metrics()).encode(),
                )
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send(
            {"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body}
        )
