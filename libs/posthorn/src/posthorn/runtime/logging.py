"""JSON logs, one object a line on standard output.

Bind the message id (``log.bind(message=…)``) for every line about a message. Never log a body, a
password or a key.
"""

from __future__ import annotations

import json
import logging
import sys
import time

import orjson
import structlog

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
    stream = LogStream(sys.stdout, MOST_CHARACTERS if process is None else SHARED_CHARACTERS)
    logger = LineLogger(stream)
    threshold = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        _Stamper(),
    ]
    structlog.configure(
        processors=[
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
