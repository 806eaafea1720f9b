"""Spans of HTTP requests, made by FastAPI (ADR 50).

Rules:

- Paths and queries contain addresses, so a span has the pattern of its route, which FastAPI adds,
  in place of them; nor is the client's address told.
- A request begins a trace of its own: a caller must not decide what is sampled.
- Texts of exceptions are not recorded. Pages of health, of the console and of the documentation
  make no spans.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any

from fastapi.telemetry import TelemetryConfig
from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    Span,
    SpanKind,
    Tracer,
    TracerProvider,
    use_span,
)
from opentelemetry.util.types import Attributes

from posthorn.runtime import traces

_LEFT_OUT = ("url.", "client.", "user_agent.", "network.peer.")
_TRACED = "/v1/"


def http_telemetry() -> TelemetryConfig:
    """Return what FastAPI is to record."""
    config = TelemetryConfig(
        tracing=False, metrics=False, logs=False, operation_spans=False, auto_configure=False
    )
    if traces.tracer is not None:
        from posthorn.runtime.otlp import OtlpTracer

        assert isinstance(traces.tracer, OtlpTracer)
        config["tracing"] = True
        config["tracer_provider"] = _Provider(traces.tracer.provider)
        config["exclude"] = _is_left_out
    return config


def _is_left_out(scope: MutableMapping[str, Any]) -> bool:
    return not str(scope.get("path", "")).startswith(_TRACED)


class _Provider(TracerProvider):
    """Tracers whose spans are without addresses."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider

    def get_tracer(self, *args: Any, **kwargs: Any) -> Tracer:
        """See TracerProvider."""
        return _Tracer(self._provider.get_tracer(*args, **kwargs))


class _Tracer(Tracer):
    """A tracer of requests."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> Span:
        """See Tracer. The context of the caller is left out."""
        kept = {
            key: value for key, value in (attributes or {}).items() if not key.startswith(_LEFT_OUT)
        }
        return self._tracer.start_span(
            name, Context(), kind, kept, links, start_time, record_exception=False
        )

    @contextmanager
    def _as_current(self, name: str, **kwargs: Any) -> Iterator[Span]:
        with use_span(self.start_span(name, **kwargs), end_on_exit=True) as span:
            yield span

    def start_as_current_span(self, name: str, *_: Any, **__: Any) -> Any:
        """See Tracer."""
        return self._as_current(name)
