"""Traces of messages that are published on INGEST (ADR 50)."""

from __future__ import annotations

import time
from collections.abc import Coroutine
from typing import Any
from uuid import UUID

from posthorn.adapters.nats.ingest_publish import Publish
from posthorn.model.envelope import Envelope
from posthorn.ports.errors import Unavailable
from posthorn.runtime import traces


async def traced(
    tracer: traces.Tracer, envelope: Envelope, work: Coroutine[Any, Any, None]
) -> None:
    """Await the acceptance of a message, and record its span if it is sampled. Raises what it
    raises."""
    if not tracer.samples(envelope.id):
        await work
        return
    began, fault = time.time_ns(), ""
    try:
        await work
    except Unavailable as error:
        fault = type(error).__name__
        raise
    finally:
        about: dict[str, traces.Value] = {
            traces.ROLE: envelope.role,
            traces.SIZE: envelope.body.size,
        }
        tracer.span(traces.PUBLISH, envelope.id, began, about, fault=fault)


def headers_of(publish: Publish) -> dict[str, str]:
    """Return the header of a stream message. A message that is traced and alone names its trace
    there, for other tools."""
    headers = {"Nats-Msg-Id": publish.id}
    if traces.tracer is not None and len(publish.messages) == 1:
        message = UUID(publish.id)
        if traces.tracer.samples(message):
            headers["traceparent"] = traces.traceparent(message)
    return headers
