"""JSON logs, one object a line on standard output.

Bind the message id (``log.bind(message=…)``) for every line about a message. Never log a body, a
password or a key.

A fault is logged as the exception that it is (``fault=error``): the line gets ``part`` and ``detail``
of an Unavailable. While a part is away everything that needs it says so, for each message, session
and second: of the lines with the same event, part and detail one a minute is written, with
``repeated``, how many were left out since.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import orjson
import structlog

from posthorn.ports.errors import Unavailable
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
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        _Stamper(),
    ]
    structlog.configure(
        processors=[
            _Faults(),
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
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(threshold, logging.WARNING))  # libraries log only problems
    return stream


def _lines_are_missing(number: int) -> None:
    structlog.get_logger().warning("log lines could not be written", lines=number)


_SAME_AGAIN_SECONDS = 60.0
_MOST_FAULTS = 500
"""Kinds of lines about faults that are remembered."""


class _Faults:
    """Writes a fault as part and detail, and drops lines that repeat another of the last minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._written: dict[tuple[object, ...], _Written] = {}

    def __call__(
        self, _: structlog.typing.WrappedLogger, method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
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
        now = self._clock()
        key = (method, event["event"], event.get("part"), event["detail"])
        written = self._written.get(key)
        if written is not None and now - written.at < _SAME_AGAIN_SECONDS:
            written.repeated += 1
            raise structlog.DropEvent
        if written is not None and written.repeated:
            event["repeated"] = written.repeated
        if len(self._written) >= _MOST_FAULTS:
            self._written.clear()
        self._written[key] = _Written(now)
        return event


@dataclass(slots=True)
class _Written:
    at: float
    """Monotonic seconds."""
    repeated: int = 0


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
