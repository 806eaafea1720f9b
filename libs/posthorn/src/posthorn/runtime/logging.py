"""JSON logs, one object a line on standard output.

Bind the message id (``log.bind(message=…)``) for every line about a message. Never log a body, a
password or a key.

A fault is logged as the exception that it is (``fault=error``): the line gets ``part`` and ``detail``
of an Unavailable. While a part is away everything that needs it says so, for each message, session
and second: of the lines with the same event, part and detail one a minute is written, with
``repeated``, how many were left out since.

So it is with what strangers do, who could fill the log: a line names the address of a client that
has proved nothing as ``stranger=address``, which is written as ``client``. Of the lines with the same
event, reason and client one a minute is written, and of all clients' ``STRANGERS_A_MINUTE``, with
``left_out``, how many were left out of the minute before. And so it is with the lines of libraries.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass

import orjson
import structlog

from posthorn.ports.errors import Unavailable
from posthorn.runtime.client_networks import client_key
from posthorn.runtime.log_stream import (
    MOST_CHARACTERS,
    SHARED_CHARACTERS,
    LineLogger,
    LogStream,
)


def configure_logging(service: str, level: str, *, process: int | None = None) -> LogStream:
    """Configure structlog and the standard library's logging to write JSON lines with time,
    level, service and event; and the number of the process, where there are several. Return the
    stream that they are written to."""
    stream = LogStream(
        sys.stdout, MOST_CHARACTERS if process is None else SHARED_CHARACTERS, _lines_are_missing
    )
    logger = LineLogger(stream)
    threshold = logging.getLevelNamesMapping()[level.upper()]
    repeats = _Repeats()
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        _Stamper(),
    ]
    structlog.configure(
        processors=[
            repeats,
            *shared,
            _named(service, process),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_as_json),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: logger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _named(service, process),
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(serializer=_as_json),
            ],
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(("repeated",))],
        )
    )
    handler.addFilter(repeats.filter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(threshold, logging.WARNING))  # libraries log only problems
    return stream


def _lines_are_missing(number: int) -> None:
    structlog.get_logger().warning("log lines could not be written", lines=number)


_SAME_AGAIN_SECONDS = 60.0
STRANGERS_A_MINUTE = 100
"""Lines of one kind about strangers that are written in a minute."""
_MOST_KINDS = 2000
"""Kinds of lines that are remembered."""
_REASONS = ("reason", "outcome", "limit", "error", "method", "route", "status")
"""Fields that tell lines about a stranger apart; none holds what the stranger sent."""


class _Repeats:
    """Writes a fault as part and detail, and drops lines that repeat another of the last minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._written: dict[tuple[object, ...], _Written] = {}

    def __call__(
        self, _: structlog.typing.WrappedLogger, method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        if (stranger := event.pop("stranger", None)) is not None:
            event["client"] = stranger
            kind = (method, event["event"], *map(event.get, _REASONS))
            crowd = self._recent(kind)
            if crowd is not None and crowd.lines >= STRANGERS_A_MINUTE:
                crowd.left_out += 1
                raise structlog.DropEvent
            self._once((*kind, client_key(stranger)), event)
            if crowd is not None:
                crowd.lines += 1
            else:
                self._write(kind, event, "left_out")
            return event
        fault = event.get("fault")
        if not isinstance(fault, Exception):
            return event
        del event["fault"]
        if isinstance(fault, Unavailable):
            event["part"], event["detail"] = fault.part, fault.detail or "does not answer"
        elif isinstance(fault, TimeoutError):
            event["detail"] = "no answer in time"
        else:
            event["detail"] = f"{type(fault).__name__}: {fault}"
        self._once((method, event["event"], event.get("part"), event["detail"]), event)
        return event

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a line of a library is written."""
        kind, _, trace = record.exc_info or (None, None, None)
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = trace and (trace.tb_frame.f_code, trace.tb_lineno)
        # asyncio names the task, another one each time, in the second line
        text = record.getMessage().partition("\n")[0]
        about: dict[str, object] = {}
        try:
            self._once((record.name, record.levelno, text, kind, place), about)
        except structlog.DropEvent:
            return False
        vars(record).update(about)
        return True

    def _once(self, kind: tuple[object, ...], event: MutableMapping[str, object]) -> None:
        if (written := self._recent(kind)) is not None:
            written.left_out += 1
            raise structlog.DropEvent
        self._write(kind, event, "repeated")

    def _recent(self, kind: tuple[object, ...]) -> _Written | None:
        written = self._written.get(kind)
        if written is None or self._clock() - written.at >= _SAME_AGAIN_SECONDS:
            return None
        return written

    def _write(
        self, kind: tuple[object, ...], event: MutableMapping[str, object], counted_as: str
    ) -> None:
        before = self._written.pop(kind, None)
        if before is not None and before.left_out:
            event[counted_as] = before.left_out
        while len(self._written) >= _MOST_KINDS:
            del self._written[next(iter(self._written))]
        self._written[kind] = _Written(self._clock())


@dataclass(slots=True)
class _Written:
    at: float
    """Monotonic seconds."""
    lines: int = 1
    left_out: int = 0


class _Stamper:
    """Adds the time in UTC; the part up to the second is formatted once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def __call__(
        self, _: structlog.typing.WrappedLogger, __: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        seconds, rest = divmod(time.time_ns(), 1_000_000_000)
        if seconds != self._second:
            self._second, self._text = (
                seconds,
                time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)),
            )
        event["time"] = f"{self._text}.{rest // 1000:06}Z"
        return event


def _as_json(event: structlog.typing.EventDict, **_: object) -> str:
    try:
        return orjson.dumps(event, default=str).decode()
    except TypeError:  # values it refuses, such as a lone surrogate sent by a client
        return json.dumps(event, default=str)


def _named(service: str, process: int | None) -> structlog.typing.Processor:
    def add(
        _: structlog.typing.WrappedLogger, __: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event["service"] = service
        if process is not None:
            event["process"] = process
        return event

    return add
