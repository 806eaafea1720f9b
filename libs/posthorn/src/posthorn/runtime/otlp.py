"""The tracer of OpenTelemetry's SDK, exported by OTLP over HTTP. Imported where an endpoint is set.

Rules:

- The SDK's ratio sampler compares the low 64 bits of a trace id, whose top two are fixed in a UUIDv7
  (RFC 9562 §5.7): it would sample nothing below one half, and all from three quarters. The sampler
  here compares the low 56 bits, which are random.
- Spans wait in a queue of bounded length for a thread that exports them every five seconds, as the
  variables ``OTEL_BSP_*`` of OpenTelemetry's specification say. What does not fit is dropped; a
  receiver that does not answer delays nothing. An export costs some 9 ms of CPU under load, however
  few its spans are.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from typing import Final
from uuid import UUID

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from opentelemetry.util.types import Attributes
from prometheus_client import Counter

from posthorn.runtime.traces import BATCH, FAULT, ROOTS, Value, root_span_of

log = structlog.get_logger()

_spans = Counter(
    "posthorn_traces_spans_total",
    "Spans of traces: sent, or dropped since the receiver did not take them",
    ["outcome"],
)

RANDOM_BITS: Final = 56
_ANSWER_SECONDS = 5.0
_CLOSE_SECONDS = 3.0
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_MOST_LINKS = 100


class LowBitsSampler(Sampler):
    """Samples by the low bits of the trace's id, whatever the parent says."""

    def __init__(self, ratio: float) -> None:
        self.bound = round(ratio * (1 << RANDOM_BITS))
        """Traces below it are sampled."""

    def samples(self, trace: int) -> bool:
        """Return whether a trace is sampled."""
        return trace & ((1 << RANDOM_BITS) - 1) < self.bound

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """See Sampler."""
        decision = Decision.RECORD_AND_SAMPLE if self.samples(trace_id) else Decision.DROP
        return SamplingResult(decision, attributes)

    def get_description(self) -> str:
        """See Sampler."""
        return f"LowBitsSampler{{{self.bound / (1 << RANDOM_BITS)}}}"


class _Exporter(OTLPSpanExporter):
    """Counts what becomes of the spans; the library's own log lines, one for each try, are left
    out."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = super().export(spans)
        outcome = "sent" if result is SpanExportResult.SUCCESS else "dropped"
        _spans.labels(outcome).inc(len(spans))
        return result


class _Ids(RandomIdGenerator):
    """Random ids, but for the next span where one is set."""

    trace = span = 0

    def generate_span_id(self) -> int:
        chosen, self.span = self.span, 0
        return chosen or super().generate_span_id()

    def generate_trace_id(self) -> int:
        chosen, self.trace = self.trace, 0
        return chosen or super().generate_trace_id()


class OtlpTracer:
    """See the port ``traces.Tracer``. To be used by one thread."""

    def __init__(self, service: str, endpoint: str, ratio: float) -> None:
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._ids = _Ids()
        self._sampler = LowBitsSampler(ratio)
        self.provider = TracerProvider(
            sampler=self._sampler,
            id_generator=self._ids,
            shutdown_on_exit=False,
            resource=Resource(
                {
                    "service.name": f"posthorn-{service}",
                    "service.version": version("posthorn"),
                    "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
                }
            ),
        )
        self.provider.add_span_processor(
            BatchSpanProcessor(
                _Exporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=_ANSWER_SECONDS)
            )
        )
        self._tracer = self.provider.get_tracer("posthorn", version("posthorn"))
        log.info("traces messages", ratio=ratio)

    async def close(self) -> None:
        """Export what waits, for some seconds at most."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self.provider.shutdown()
            with suppress(RuntimeError):  # nobody waits any more
                loop.call_soon_threadsafe(done.set)

        # a thread that the end of the process does not wait for
        threading.Thread(target=shut_down, name="traces", daemon=True).start()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await done.wait()
        except TimeoutError:
            log.warning("the receiver of traces does not answer; what waited for it is dropped")

    def samples(self, message: UUID) -> bool:
        """See the port."""
        return self._sampler.samples(message.int)

    def span(
        self,
        name: str,
        message: UUID,
        began: int,
        attributes: Mapping[str, Value] | None = None,
        *,
        fault: str = "",
        links: Iterable[tuple[int, int]] = (),
    ) -> None:
        """See the port."""
        root = root_span_of(message)
        context = Context()
        if name in ROOTS:
            self._ids.trace, self._ids.span = message.int, root
        else:
            parent = SpanContext(message.int, root, is_remote=True, trace_flags=_SAMPLED)
            context = set_span_in_context(NonRecordingSpan(parent), context)
        self._record(name, context, began, attributes, fault, links)

    def batch(
        self, messages: Sequence[UUID], began: int, attributes: Mapping[str, Value] | None = None
    ) -> tuple[int, int]:
        """See the port. Its trace is one that is sampled."""
        high = random.getrandbits(128 - RANDOM_BITS - 1) | 1
        low = random.randrange(max(self._sampler.bound, 1))  # noqa: S311
        self._ids.trace = high << RANDOM_BITS | low
        links = [(each.int, root_span_of(each)) for each in messages[:_MOST_LINKS]]
        return self._record(BATCH, Context(), began, attributes, "", links)

    def _record(
        self,
        name: str,
        context: Context,
        began: int,
        attributes: Mapping[str, Value] | None,
        fault: str,
        links: Iterable[tuple[int, int]],
    ) -> tuple[int, int]:
        span = self._tracer.start_span(
            name,
            context=context,
            kind=SpanKind.INTERNAL,
            attributes=attributes,
            links=[
                Link(SpanContext(trace, number, is_remote=True, trace_flags=_SAMPLED))
                for trace, number in links
            ],
            start_time=began,
        )
        if fault:
            span.set_attribute(FAULT, fault)
            span.set_status(StatusCode.ERROR)
        span.end(max(began, time.time_ns()))
        known = span.get_span_context()
        return known.trace_id, known.span_id
