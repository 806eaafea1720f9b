"""An OTLP/HTTP receiver of traces in a thread of the test process."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """A span as it was exported."""

    service: str
    name: str
    trace: int
    span: int
    parent: int
    began: int
    ended: int
    is_error: bool
    attributes: dict[str, Any]
    links: list[tuple[int, int]]


class TraceReceiver:
    """What came in, and where it listens."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.spans: list[ReceivedSpan] = []
        self.raw: list[bytes] = []

    def of(self, trace: int) -> list[ReceivedSpan]:
        """Spans of a trace, in the order they began."""
        return sorted(
            (each for each in self.spans if each.trace == trace), key=lambda each: each.began
        )

    def take(self, body: bytes) -> None:
        """Take a request's body."""
        self.raw.append(body)
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            facts = _read(resource.resource.attributes)
            for scope in resource.scope_spans:
                self.spans += [
                    ReceivedSpan(
                        str(facts["service.name"]),
                        each.name,
                        int.from_bytes(each.trace_id),
                        int.from_bytes(each.span_id),
                        int.from_bytes(each.parent_span_id),
                        each.start_time_unix_nano,
                        each.end_time_unix_nano,
                        each.status.code == each.status.STATUS_CODE_ERROR,
                        _read(each.attributes),
                        [
                            (int.from_bytes(link.trace_id), int.from_bytes(link.span_id))
                            for link in each.links
                        ],
                    )
                    for each in scope.spans
                ]


def _read(attributes: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in attributes:
        kind = each.value.WhichOneof("value")
        value = getattr(each.value, kind)
        found[each.key] = (
            [one.string_value for one in value.values] if kind == "array_value" else value
        )
    return found


@contextmanager
def receiving() -> Iterator[TraceReceiver]:
    """Receive traces on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            assert self.path == "/v1/traces"
            receiver.take(body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver = TraceReceiver(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.1,))
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
