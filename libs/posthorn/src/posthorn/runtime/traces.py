"""Traces of messages (ADR 50), for call sites that do not know who takes them.

Rules:

- The id of a message is the id of its trace, and its low half the id of the root span, ``receive``.
  So every service adds its spans without being told of any other, retries included. A login has a
  trace of its own, made in the same way.
- Whether a message is sampled follows from its id alone, so that all services decide alike.
- A span is recorded when it has ended. Nothing is kept in between, and nothing is awaited.
- Without an endpoint ``tracer`` is None: a call site compares it once, and nothing of OpenTelemetry
  is imported.
- Attributes are domains, sizes, codes and hosts. No local part, subject or credential is one.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final, Protocol
from uuid import UUID

from pydantic import Field

from posthorn.runtime.env_settings import EnvSettings

RECEIVE: Final = "receive"
"""Root span: from MAIL, or the request of a program, to the answer."""
PUT: Final = "put"
"""The body is written to the blob store."""
PUBLISH: Final = "publish"
"""The message is kept by the ingest stream."""
PLACE: Final = "place"
"""Delivery writes mailbox entries and the rows of the queue."""
ATTEMPT: Final = "attempt"
"""Relay offers the message to one host."""
BATCH: Final = "batch"
"""What delivery did for several messages at once, linked with each of them."""
SCAN: Final = "scan"
"""The scanning tier: from the question to the verdict."""
AUTHENTICATE: Final = "authenticate"
"""Part of ``scan``: SPF, DKIM, DMARC and ARC, with their DNS."""
RULES: Final = "rules"
"""Part of ``scan``: blocklists of the domains in the message, and the built-in rules."""
ENGINE: Final = "engine"
"""Part of ``scan``: one engine, such as rspamd."""
READ: Final = "read"
"""pop3 or imap gets the body for a client."""
LOGIN: Final = "login"
"""pop3 or imap checks a login. It belongs to no message: its trace has an id of its own."""
ROOTS: Final = frozenset({RECEIVE, LOGIN})
"""Spans without a parent."""

ROLE: Final = "posthorn.role"
SIZE: Final = "posthorn.message.size_bytes"
RECIPIENTS: Final = "posthorn.recipients"
SENDER_DOMAIN: Final = "posthorn.sender.domain"
RECIPIENT_DOMAINS: Final = "posthorn.recipient.domains"
REPLY_CODE: Final = "posthorn.reply.code"
DESTINATION: Final = "posthorn.destination"
NEXT_HOP: Final = "server.address"
PROVIDER: Final = "posthorn.provider"
STAGE: Final = "posthorn.stage"
STATUS: Final = "posthorn.reply.status"
TRIES: Final = "posthorn.attempt"
MESSAGES: Final = "posthorn.batch.messages"
MAILBOXES: Final = "posthorn.mailboxes"
QUEUED: Final = "posthorn.queued"
RESULT: Final = "posthorn.result"
SCORE: Final = "posthorn.scan.score"
IS_COMPLETE: Final = "posthorn.scan.complete"
DMARC: Final = "posthorn.scan.dmarc"
RULES_MATCHED: Final = "posthorn.scan.rules"
ENGINE_NAME: Final = "posthorn.scan.engine"
STATE: Final = "posthorn.scan.state"
CACHED: Final = "posthorn.cached"
FAULT: Final = "error.type"

_MOST_DOMAINS = 10

type Value = str | int | float | bool | Sequence[str]


class TraceSettings(EnvSettings):
    """Traces by OpenTelemetry."""

    otlp_endpoint: Annotated[
        str, Field(pattern=r"^(https?://[^\s?#]+)?$", examples=["http://collector:4318"])
    ] = ""
    """URL of the OTLP/HTTP receiver of traces, such as ``http://collector:4318``; ``/v1/traces`` is
    added. Empty: no traces. Header fields for it are taken from ``OTEL_EXPORTER_OTLP_HEADERS``."""
    trace_ratio: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.01
    """Part of the messages that are traced. All services need the same value."""


class Tracer(Protocol):
    """Takes spans. No method blocks or raises."""

    def samples(self, message: UUID) -> bool:
        """Return whether a message is traced."""
        ...

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
        """Record a span of a message that is sampled, which ends now. ``began``: nanoseconds since
        the epoch; ``fault``: the name of the fault it ended by; ``links``: ids of traces and
        spans."""
        ...

    def batch(
        self, messages: Sequence[UUID], began: int, attributes: Mapping[str, Value] | None = None
    ) -> tuple[int, int]:
        """Record a span of several messages, linked with each; return the ids of its trace and
        its span."""
        ...


tracer: Tracer | None = None
"""Of this process; None: messages are not traced."""


def if_sampled(message: UUID | str) -> UUID | None:
    """Return the id of a message if it is traced; None also for a text that is no id."""
    if tracer is None:
        return None
    if isinstance(message, str):
        try:
            message = UUID(message)
        except ValueError:
            return None
    return message if tracer.samples(message) else None


def timed[T](
    message: UUID | None,
    name: str,
    work: Coroutine[Any, Any, T],
    about: Callable[[T], Mapping[str, Value]],
) -> Coroutine[Any, Any, T]:
    """Return work that records its span when it has ended, or the work itself where ``message`` is
    None. ``about``: returns the attributes of its result."""
    if tracer is None or message is None:
        return work
    return _timed(tracer, message, name, work, about)


async def _timed[T](
    taker: Tracer,
    message: UUID,
    name: str,
    work: Coroutine[Any, Any, T],
    about: Callable[[T], Mapping[str, Value]],
) -> T:
    began = time.time_ns()
    try:
        result = await work
    except Exception as error:
        taker.span(name, message, began, fault=type(error).__name__)
        raise
    taker.span(name, message, began, about(result))
    return result


def root_span_of(message: UUID) -> int:
    """Return the id of a message's root span. It is never 0: a UUIDv7's low half begins with its
    variant."""
    return message.int & 0xFFFF_FFFF_FFFF_FFFF


def traceparent(message: UUID) -> str:
    """Return the traceparent of a message that is sampled (W3C Trace Context §3.2)."""
    return f"00-{message.hex}-{root_span_of(message):016x}-01"


def domain_of(address: str) -> str:
    """Return the domain of an address; empty where it has none."""
    return address.rpartition("@")[2] if "@" in address else ""


def receipt(
    role: str, size: int, reverse_path: str, recipients: Sequence[str], code: int
) -> dict[str, Value]:
    """Return the attributes of a message that was received. ``reverse_path`` may be empty."""
    domains = list(dict.fromkeys(map(domain_of, recipients)))
    return {
        ROLE: role,
        SIZE: size,
        SENDER_DOMAIN: domain_of(reverse_path),
        RECIPIENTS: len(recipients),
        RECIPIENT_DOMAINS: domains[:_MOST_DOMAINS],
        REPLY_CODE: code,
    }


def login(taker: Tracer, trace: UUID, began: int, role: str, outcome: str) -> None:
    """Record a login, if its trace is sampled. ``began``: nanoseconds since the epoch; ``outcome``:
    the word for metrics."""
    if taker.samples(trace):
        fault = outcome if outcome in ("fault", "busy") else ""
        taker.span(LOGIN, trace, began, {ROLE: role, RESULT: outcome}, fault=fault)


def nanoseconds_ago(seconds: float) -> int:
    """Return a time in nanoseconds since the epoch."""
    return time.time_ns() - int(seconds * 1e9)


@asynccontextmanager
async def tracing(service: str, settings: TraceSettings) -> AsyncIterator[None]:
    """Trace messages, if an endpoint is set. On leaving, what waits is exported, within seconds."""
    global tracer
    if not settings.otlp_endpoint:
        yield
        return
    from posthorn.runtime.otlp import OtlpTracer

    exporting = OtlpTracer(service, settings.otlp_endpoint, settings.trace_ratio)
    tracer = exporting
    try:
        yield
    finally:
        tracer = None
        await exporting.close()
