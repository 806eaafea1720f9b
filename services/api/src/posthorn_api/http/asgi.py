"""The outermost layer of the API, in ASGI: request ids, limits, metrics, one log line a request; and
HEAD, which is GET without the content (RFC 9110 §9.3.2)."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from typing import Any

import structlog
from prometheus_client import Counter, Histogram

from posthorn.runtime.ids import new_id
from posthorn_api.http.problems import Problem, problem_of

log = structlog.get_logger()

type Scope = MutableMapping[str, Any]
type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type Application = Callable[[Scope, Receive, Send], Awaitable[None]]

EVENT_STREAM = "text/event-stream"
"""Media type of server-sent events (WHATWG HTML §9.2)."""
_METHODS = frozenset({"GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS"})
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,100}\Z")
_SWALLOWED = 8 * 1024 * 1024
_SWALLOW_SECONDS = 5.0

_requests = Counter(
    "posthorn_api_requests_total", "Requests answered", ["method", "route", "status"]
)
_seconds = Histogram(
    "posthorn_api_request_seconds",
    "Time to the end of the answer",
    ["method", "route"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.3, 0.5, 1, 2.5, 5, 10),
)


class AsgiEdge:
    """Wraps the application."""

    def __init__(
        self,
        application: Application,
        body_limit: int,
        limits: Mapping[str, int] | None = None,
        patterns: Sequence[tuple[re.Pattern[str], int]] = (),
    ) -> None:
        self._application = application
        self._body_limit = body_limit
        self._limits = limits or {}  # of the paths that take more
        self._patterns = patterns  # the same, for POST

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
        else:
            await _Exchange(scope, receive, send, self._limit(scope)).run(self._application)

    def _limit(self, scope: Scope) -> int:
        for pattern, limit in self._patterns:
            if scope["method"] == "POST" and pattern.match(scope["path"]):
                return limit
        return self._limits.get(scope["path"], self._body_limit)


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        self._scope = scope
        self._is_head = scope["method"] == "HEAD"
        self._asked = {**scope, "method": "GET"} if self._is_head else scope
        """What the application is asked."""
        self._receive_raw = receive
        self._send_raw = send
        self._limit = limit
        self._received = 0
        self._status = 0
        self._is_endless = False  # an answer that goes on for as long as the client likes
        self._is_cut = False  # the answer is over, though the application has more to say
        self._id = _request_id(scope)

    async def run(self, application: Application) -> None:
        began = time.perf_counter()
        with structlog.contextvars.bound_contextvars(request=self._id, key_id=None, key_name=None):
            try:
                try:
                    self._check_length()
                    await application(self._asked, self._receive, self._send)
                except Exception as error:
                    if not self._is_cut:
                        await self._fail(error)
            finally:
                self._report(time.perf_counter() - began)

    def _check_length(self) -> None:
        for name, value in self._scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value) > self._limit:
                raise self._too_large()

    def _too_large(self) -> Problem:
        return Problem(
            413,
            "too-large",
            f"the body is larger than {self._limit} bytes",
            headers={"Connection": "close"},
        )

    async def _receive(self) -> Message:
        message = await self._receive_raw()
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            if self._received > self._limit:
                raise self._too_large()
        return message

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            if self._status == 413:
                await self._swallow()
            headers = [*message.get("headers", ()), (b"x-request-id", self._id.encode())]
            self._is_endless = (b"content-type", EVENT_STREAM.encode()) in headers
            if self._scope["path"].startswith("/v1/") and all(
                name != b"cache-control" for name, _ in headers
            ):
                headers.append((b"cache-control", b"no-store"))
            message = {**message, "headers": headers}
        await self._send_raw(message)
        if self._is_head:
            await self._send_raw({"type": "http.response.body"})
            self._is_cut = True
            raise OSError("HEAD has no content")  # so that none is made

    async def _swallow(self) -> None:
        """Take in a little more of a body that is too large: a client that is still writing
        would not read the answer."""
        if any(name == b"expect" for name, _ in self._scope["headers"]):
            return  # it waits to be asked for its body, and is not
        with suppress(TimeoutError):
            async with asyncio.timeout(_SWALLOW_SECONDS):
                while self._received < _SWALLOWED:
                    message = await self._receive_raw()
                    self._received += len(message.get("body", b""))
                    if not message.get("more_body"):
                        return

    async def _fail(self, error: Exception) -> None:
        if self._status:
            log.warning("an answer was broken off", fault=error)
            return  # the server closes the connection, so that the client sees it
        response = problem_of(error).response()
        await response(self._scope, self._receive_raw, self._send)

    def _report(self, seconds: float) -> None:
        route = getattr(self._asked.get("route"), "path", "(none)")
        method = self._scope["method"] if self._scope["method"] in _METHODS else "(other)"
        _requests.labels(method, route, str(self._status)).inc()
        if not self._is_endless:
            _seconds.labels(method, route).observe(seconds)
        client = self._scope.get("client")
        is_strange = structlog.contextvars.get_contextvars().get("key_id") is None
        log.info(
            "request",
            method=method,
            route=route,
            status=self._status,
            seconds=round(seconds, 4),
            **({"stranger": client[0]} if is_strange and client else {}),
        )


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.match(value):
            return str(value.decode("ascii"))
    return str(new_id())
