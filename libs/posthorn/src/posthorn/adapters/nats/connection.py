"""The connection to NATS of a process, re-established whenever it breaks.

Rules:

- Nothing is buffered without a connection: a publish is refused at once (``pending_size`` 0), so
  that no message is sent later whose sender was told 451.
- nats-py reconnects by itself, except after a protocol error of the server (``-ERR``), which closes
  the client permanently. ``keep`` then creates a new client; adapters renew their subscriptions in
  an ``on_up`` hook when ``client`` has changed.
- Pings detect a vanished peer within four seconds.
- User and password are removed from the URLs before the library sees them (``urls``), so that no
  error text can contain them.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext, suppress
from typing import Any

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import ConnectionClosedError, OutboundBufferLimitError
from nats.js import JetStreamContext
from prometheus_client import Counter

from posthorn.adapters.nats.client import (
    CONNECT_SECONDS,
    FAULTS,
    ReconnectingClient,
    close_quietly,
    describe,
    login_options,
)
from posthorn.adapters.nats.errors import ApiError, Denied, NoAnswer, NoResponders
from posthorn.adapters.nats.inbox import Inbox, token_of
from posthorn.adapters.nats.layout import ensure_layout, expect_layout
from posthorn.adapters.nats.permissions import LAYOUT_KEEPERS, PART_NAMES, inbox_prefix
from posthorn.adapters.nats.urls import split_urls
from posthorn.ports.errors import Unavailable
from posthorn.runtime.health import START_SECONDS
from posthorn.runtime.settings import NatsSettings
from posthorn.runtime.tasks import cancel_and_wait

log = structlog.get_logger()

_connected = Counter(
    "posthorn_nats_connections_total",
    "Connections made to NATS: the first, and one after each loss",
)

REQUEST_TIMEOUT = 5.0
"""Time limit of one request to JetStream, in seconds."""
_RETRY_WAIT = 0.25
_PING_SECONDS, _PINGS_UNANSWERED = 1, 3
_DRAIN_SECONDS = 5.0
_NO_RESPONDERS_STATUS = "503"
_DENIED = re.compile(r'permissions violation for publish to "([^"]+)"', re.IGNORECASE)


class Connection:
    """One process's connection to NATS, shared by all adapters of the process."""

    def __init__(self, settings: NatsSettings, name: str, part: str | None = None) -> None:
        self.settings = settings
        self.name = name
        self.client: Client = ReconnectingClient()
        """The library's client. A new object after the server closed the connection."""
        self._servers, self._user, self._password = split_urls(settings.nats_url.get_secret_value())
        self.part = part or (self._user if self._user in PART_NAMES else None)
        self._hooks: list[Callable[[], Awaitable[None]]] = []
        self._down_hooks: list[Callable[[], None]] = []
        self._denial_hooks: list[Callable[[str], Awaitable[None]]] = []
        self._inbox = Inbox(self, self._answered)
        self._token = 0
        self._requests: dict[str, tuple[str, asyncio.Future[Msg]]] = {}
        self._up = asyncio.Event()
        self._came_up = asyncio.Event()
        self._closed = asyncio.Event()
        self._check_due = asyncio.Event()
        self._leaving = False

    @property
    def jetstream(self) -> JetStreamContext:
        """The library's JetStream API over the present client."""
        return self.client.jetstream(timeout=REQUEST_TIMEOUT)

    @property
    def is_up(self) -> bool:
        """Whether there is a connection now."""
        return self._up.is_set() and self.client.is_connected

    async def wait_up(self, timeout: float) -> None:
        """Wait for a connection. Raises Unavailable when there is none within ``timeout``
        seconds."""
        if self.is_up:
            return
        try:
            async with asyncio.timeout(timeout):
                while not self.is_up:
                    await self._up.wait()
                    # the library knows of a loss a moment before its callback
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise Unavailable("nats", "not connected") from None

    def on_up(self, hook: Callable[[], Awaitable[None]]) -> None:
        """Call a coroutine function after every new connection. It must be fast; its errors are
        logged."""
        self._hooks.append(hook)

    def on_down(self, hook: Callable[[], None]) -> None:
        """Call a function when the connection is lost."""
        self._down_hooks.append(hook)

    def on_denied(self, hook: Callable[[str], Awaitable[None]]) -> None:
        """Call a coroutine function with the subject of a publish that NATS refuses to this user;
        such a publish gets no answer."""
        self._denial_hooks.append(hook)

    def forget(self, hook: Callable[[], Awaitable[None]] | Callable[[], None]) -> None:
        """Remove a hook; a missing one is no error."""
        for hooks in (self._hooks, self._down_hooks):
            if hook in hooks:
                hooks.remove(hook)  # type: ignore[arg-type]

    def check_soon(self) -> None:
        """Schedule a check of the streams: one that should exist did not answer."""
        self._check_due.set()

    async def publish(
        self,
        subject: str,
        payload: bytes = b"",
        reply: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        """Send a message without waiting. Raises Unavailable at once when there is no
        connection."""
        try:
            await self.client.publish(subject, payload, reply, headers)
        except FAULTS as error:
            raise _unavailable(error) from error

    async def subscribe(
        self, subject: str, on_message: Callable[[Msg], Awaitable[None]], queue: str = ""
    ) -> Subscription:
        """Subscribe on the present client, as a member of a queue group if one is named. Raises
        Unavailable."""
        try:
            return await self.client.subscribe(subject, queue, on_message)
        except FAULTS as error:
            raise _unavailable(error) from error

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        headers: dict[str, str] | None = None,
        timeout: float | None = REQUEST_TIMEOUT,
        *,
        to_stream: bool = True,
    ) -> Msg:
        """Send a request and return the answer. ``timeout``: seconds; None where the caller limits
        the time.

        ``to_stream``: a stream should serve the subject; if none does, the streams are checked.
        Raises Unavailable: no connection, it broke meanwhile; NoAnswer: none in time;
        NoResponders: nothing serves the subject; Denied: this user may not publish to it.
        """
        self._token += 1
        token = f"{self._token:x}"
        answered: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._requests[token] = subject, answered
        try:
            async with nullcontext() if timeout is None else asyncio.timeout(timeout):
                await self._inbox.open()
                await self.publish(subject, payload, self._inbox.prefix + token, headers)
                answer = await answered
        except TimeoutError:
            raise NoAnswer("nats", "no answer in time") from None
        finally:
            del self._requests[token]
        if not answer.data and (answer.headers or {}).get("Status") == _NO_RESPONDERS_STATUS:
            if to_stream:
                self.check_soon()
            raise NoResponders("nats", "nothing serves the subject")
        return answer

    async def api(self, operation: str, document: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a JetStream API request such as ``STREAM.INFO.x``. Raises ApiError when the
        server refuses, else Unavailable."""
        answer = await self.request(
            f"$JS.API.{operation}", json.dumps(document).encode() if document is not None else b""
        )
        try:
            decoded: dict[str, Any] = json.loads(answer.data)
        except ValueError as error:
            raise Unavailable("nats", "an answer is not JSON") from error
        if refusal := decoded.get("error"):
            raise ApiError(refusal)
        return decoded

    async def _answered(self, message: Msg) -> None:
        _, answered = self._requests.get(token_of(message), ("", None))
        if answered is not None and not answered.done():
            answered.set_result(message)

    async def open(self) -> None:
        """Connect and ensure the streams, without a time limit."""
        await self._connect()
        expected_by = time.monotonic() + START_SECONDS
        while True:
            try:
                await self._check_layout()
                break
            except Unavailable as error:
                say = log.info if time.monotonic() < expected_by else log.warning
                say("JetStream does not serve yet", fault=error)
                await asyncio.sleep(_RETRY_WAIT)
        self._came_up.clear()

    async def keep(self) -> None:
        """Maintain the connection until cancelled."""
        while True:
            try:
                await self._maintain()
            except Exception:
                log.exception("maintenance of the connection failed; trying again", part="nats")
                await asyncio.sleep(1)

    async def _maintain(self) -> None:
        while True:
            waits = [
                asyncio.ensure_future(event.wait())
                for event in (self._came_up, self._closed, self._check_due)
            ]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
            if self._closed.is_set():
                await self._connect()
            if self._came_up.is_set():
                self._came_up.clear()
                self._check_due.set()
                await self._run_hooks()
            if self._check_due.is_set():
                self._check_due.clear()
                await self._repair_layout()

    async def close(self) -> None:
        """Flush and close, within a few seconds."""
        self._leaving = True
        self._up.clear()
        if self.client.is_connected:
            with suppress(*FAULTS):
                async with asyncio.timeout(_DRAIN_SECONDS):
                    await self.client.drain()
        await close_quietly(self.client)

    async def _run_hooks(self) -> None:
        for hook in list(self._hooks):
            try:
                await hook()
            except Unavailable as error:
                log.warning("a hook failed after a reconnect", fault=error)
                self._came_up.set()
                await asyncio.sleep(_RETRY_WAIT)
            except Exception:
                log.exception("a hook failed after a reconnect", part="nats")

    async def _check_layout(self) -> None:
        """Create the streams, or check that they exist. Raises Unavailable."""
        if self.part is None or self.part in LAYOUT_KEEPERS:
            await ensure_layout(self, self.settings, reads_ingest=self.part != "api")
        else:
            await expect_layout(self, self.settings, self.part)

    async def _repair_layout(self) -> None:
        try:
            await self._check_layout()
        except Unavailable as error:
            log.warning("JetStream does not serve", fault=error)
            await asyncio.sleep(_RETRY_WAIT)
            self._check_due.set()

    async def _connect(self) -> None:
        self._closed.clear()
        options = login_options(
            self._servers, self._user, self._password, self.settings.nats_creds_file
        )
        if self.part is not None:
            options["inbox_prefix"] = inbox_prefix(self.part).encode()
        while True:
            client = ReconnectingClient()

            async def closed(client: Client = client) -> None:
                if client is self.client:  # one that never connected is closed as well
                    await self._on_closed()

            try:
                await client.connect(
                    self._servers,
                    name=self.name,
                    error_cb=self._on_error,
                    disconnected_cb=self._on_disconnected,
                    reconnected_cb=self._on_connected,
                    closed_cb=closed,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=_RETRY_WAIT,  # type: ignore[arg-type]  # a float works as well
                    connect_timeout=CONNECT_SECONDS,
                    ping_interval=_PING_SECONDS,
                    max_outstanding_pings=_PINGS_UNANSWERED,
                    pending_size=0,
                    drain_timeout=round(_DRAIN_SECONDS) - 1,
                    **options,
                )
                break
            except FAULTS as error:
                self._log_unreached(error)
                await close_quietly(client)
                await asyncio.sleep(_RETRY_WAIT)
            except asyncio.CancelledError:
                await close_quietly(client)
                raise
        self.client = client
        await self._on_connected()

    async def _on_connected(self) -> None:
        _connected.inc()
        log.info(
            "connected to NATS",
            server=self.client.connected_url.netloc if self.client.connected_url else "",
        )
        self._up.set()
        self._came_up.set()

    async def _on_disconnected(self) -> None:
        if self._up.is_set():
            log.warning("connection to NATS lost", servers=self._servers)
        self._up.clear()
        self._fail_requests(Unavailable("nats", "the connection broke"))
        for hook in list(self._down_hooks):
            hook()

    def _fail_requests(self, error: Unavailable, to: str | None = None) -> None:
        for subject, answered in self._requests.values():
            # the library has the server's text in lower case
            if to in (None, subject.lower()) and not answered.done():
                answered.set_exception(error)

    async def _on_closed(self) -> None:
        self._up.clear()
        if not self._leaving:
            error = self.client.last_error
            fault = Unavailable("nats") if error is None else _unavailable(error)
            log.error("NATS closed the connection", fault=fault)
            self._closed.set()

    async def _on_error(self, error: Exception) -> None:
        if not self._leaving:
            if self._up.is_set():
                log.warning("error reported by the NATS client", fault=_unavailable(error))
            else:
                self._log_unreached(error)
        if denied := _DENIED.search(str(error)):
            self._fail_requests(Denied("nats", f"not permitted: {denied[1]}"), denied[1])
            for hook in list(self._denial_hooks):
                await hook(denied[1])

    def _log_unreached(self, error: Exception) -> None:
        say = log.error if _is_refusal(error) else log.warning
        say("NATS cannot be reached", servers=self._servers, fault=_unavailable(error))


def _is_refusal(error: Exception) -> bool:
    return "authorization violation" in str(error).lower()


def _unavailable(error: Exception) -> Unavailable:
    if isinstance(error, OutboundBufferLimitError | ConnectionClosedError):
        return Unavailable("nats", "not connected")
    if _is_refusal(error):
        login = "user and password of POSTHORN_NATS_URL, or POSTHORN_NATS_CREDS_FILE"
        return Unavailable("nats", f"the server refuses the login; check {login}")
    return Unavailable("nats", describe(error))


@asynccontextmanager
async def connect(
    settings: NatsSettings, name: str, part: str | None = None
) -> AsyncIterator[Connection]:
    """Connect to NATS and ensure that the streams, the consumers and the bucket exist as
    configured.

    ``part``: the user of ``permissions`` that connects; one that creates no streams waits for those
    it needs. None: the user in the URL, else the administrator.

    Waits for NATS without a time limit, and logs why. On leaving, the connection is drained within
    seconds. ``name`` is shown by NATS' monitoring.
    """
    connection = Connection(settings, name, part)
    keeper: asyncio.Task[None] | None = None
    try:
        await connection.open()
        keeper = asyncio.create_task(connection.keep(), name="nats")
        yield connection
    finally:
        if keeper is not None:
            await cancel_and_wait(keeper)
        await connection.close()
