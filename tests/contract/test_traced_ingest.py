"""A message on INGEST names its trace, where it is traced and alone in its stream message."""

from __future__ import annotations

import pytest

from posthorn.adapters.nats.connection import Connection
from posthorn.adapters.nats.ingest import NatsIngest
from posthorn.model.streams import INGEST
from posthorn.ports.errors import Unavailable
from posthorn.runtime import traces
from posthorn.runtime.traces import TraceSettings, tracing
from tests.support.builders import make_envelope
from tests.support.trace_receiver import receiving

BODY = b"Subject: x\r\n\r\n"


async def test_the_stream_message_names_the_trace(connection: Connection) -> None:
    ingest, first, second = NatsIngest(connection), make_envelope(), make_envelope()
    with receiving() as receiver:
        settings = {"otlp_endpoint": receiver.endpoint, "trace_ratio": 1}
        async with tracing("smtp-in", TraceSettings.model_validate(settings)):
            await ingest.accept(first, BODY)
        await ingest.accept(second, BODY)
    (span,) = receiver.spans
    assert (span.name, span.trace, span.is_error) == ("publish", first.id.int, False)
    headers = [
        (await connection.jetstream.get_msg(INGEST, seq=number)).headers or {} for number in (1, 2)
    ]
    assert headers[0]["traceparent"] == traces.traceparent(first.id)
    assert "traceparent" not in headers[1]
    assert [each["Nats-Msg-Id"] for each in headers] == [str(first.id), str(second.id)]


async def test_a_message_that_was_not_kept_is_a_span_with_its_fault(
    connection: Connection,
) -> None:
    ingest, envelope = NatsIngest(connection, timeout=0.05), make_envelope()
    with receiving() as receiver:
        settings = {"otlp_endpoint": receiver.endpoint, "trace_ratio": 1}
        async with tracing("smtp-in", TraceSettings.model_validate(settings)):
            await connection.close()
            with pytest.raises(Unavailable):
                await ingest.accept(envelope, BODY)
    (span,) = receiver.spans
    assert span.is_error and span.attributes[traces.FAULT] == "Unavailable"
