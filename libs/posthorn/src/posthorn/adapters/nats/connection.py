"""The connection to NATS: it comes up when NATS does, and comes back whenever NATS does.

Rules:

- Nothing is ever buffered while there is no connection: a publish is refused at once (``pending_size`` 0), so that no message
  is kept whose sender was told 451 long ago.
- nats-py reconnects by itself, except after a protocol error of the server (``-ERR``), which closes the client for good. A
  keeper then makes a new client; whoever holds a subscription renews it in an ``on_up`` hook when ``client`` has changed.
- A peer that is silently gone is noticed by pings within four seconds.
- User and password are taken out of the URLs before the library sees them, so that no error text can carry them.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import unquote, urlsplit

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext

from posthorn.adapters.nats.errors import ApiError, NoResponders
from posthorn.adapters.nats.inbox import Inbox, token_of
from posthorn.adapters.nats.layout import ensure_layout, expect_layout
from posthorn.adapters.nats.permissions import LAYOUT_KEEPERS, PART_NAMES, inbox_prefix
from posthorn.ports.errors import Unavailable
from posthorn.runtime.settings import NatsSettings
from posthorn.runtime.tls import verifying_context

log = structlog.get_logger()

REQUEST_TIMEOUT = 5.0
"""Seconds that one request to JetStream may take."""
_RETRY_WAIT = 0.25
_PING_SECONDS, _PINGS_UNANSWERED = 1, 3
_CONNECT_SECONDS = 2
_DRAIN_SECONDS = 5.0
_LOG_EVERY = 10.0
_NOBODY = "503"
_FAULTS = (nats.errors.Error, OSError, TimeoutError)


class _Client(Client):
    """The library's client, which on a reconnect neither waits for a dead peer nor sends what was meant for it."""

    async def _attempt_reconnect(self) -> None:
        # Its wait for the old socket to close lasts as long as octets are unsent: minutes, when the peer is silently gone.
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()
        # Messages not yet sent belong to senders who are told 451; sent later, they would come a second time.
        self._pending: list[bytes] = []
        self._pending_data_size = 0
        await super()._attempt_reconnect()

    async def flush(self, timeout: int = _CONNECT_SECONDS) -> None:
        await super().flush(timeout)  # a reconnect ends with it, and the library waits ten seconds for a silent peer


class Connection:
    """One process's connection to NATS, shared by all adapters of the process."""

    def __init__(self, settings: NatsSettings, name: str, part: str | None = None) -> None:
        self.settings = settings
        self.name = name
        self.client: Client = _Client()
        """The library's client. It is another object after the server closed the connection for good."""
        self._servers, self._user, self._password = split_urls(settings.nats_url.get_secret_value())
        self.part = part or (self._user if self._user in PART_NAMES else None)
        self._hooks: list[Callable[[], Awaitable[None]]] = []
        self._down_hooks: list[Callable[[], None]] = []
        self._inbox = Inbox(self, self._answered)
        self._token = 0
        self._requests: dict[str, asyncio.Future[Msg]] = {}
        self._up = asyncio.Event()
        self._came_up = asyncio.Event()
        self._closed = asyncio.Event()
        self._check_due = asyncio.Event()
        self._leaving = False
        self._logged: dict[str, float] = {}

    @property
    def jetstream(self) -> JetStreamContext:
        """The library's JetStream API over the present client."""
        return self.client.jetstream(timeout=REQUEST_TIMEOUT)

    @property
    def is_up(self) -> bool:
        """Whether there is a connection now."""
        return self._up.is_set() and self.client.is_connected

    async def wait_up(self, timeout: float) -> None:
        """Wait for a connection. Raises Unavailable when there is none within ``timeout`` seconds."""
        if self.is_up:
            return
        try:
            async with asyncio.timeout(timeout):
                while not self.is_up:
                    await self._up.wait()
                    await asyncio.sleep(0.01)  # the library knows of a loss a moment before it tells us
        except TimeoutError:
            raise Unavailable("nats", "not connected") from None

    def on_up(self, hook: Callable[[], Awaitable[None]]) -> None:
        """Have a coroutine function called after every new connection. It must be quick; its faults are logged."""
        self._hooks.append(hook)

    def on_down(self, hook: Callable[[], None]) -> None:
        """Have a function called at the moment the connection is lost."""
        self._down_hooks.append(hook)

    def forget(self, hook: Callable[[], Awaitable[None]] | Callable[[], None]) -> None:
        """Take a hook off; one that is not there is no error."""
        for hooks in (self._hooks, self._down_hooks):
            if hook in hooks:
                hooks.remove(hook)  # type: ignore[arg-type]

    def check_soon(self) -> None:
        """Have the streams checked soon: something that should be there did not answer."""
        self._check_due.set()

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        """Send a message without waiting for anything. Raises Unavailable at once when there is no connection."""
        try:
            await self.client.publish(subject, payload, reply, headers)
        except _FAULTS as error:
            raise Unavailable("nats", type(error).__name__) from error

    async def subscribe(self, subject: str, on_message: Callable[[Msg], Awaitable[None]]) -> Subscription:
        """Subscribe on the present client. Raises Unavailable."""
        try:
            return await self.client.subscribe(subject, cb=on_message)
        except _FAULTS as error:
            raise Unavailable("nats", type(error).__name__) from error

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        headers: dict[str, str] | None = None,
        timeout: float = REQUEST_TIMEOUT,
    ) -> Msg:
        """Ask and wait for the answer.

        Raises Unavailable: no connection, it broke meanwhile, no answer in time; NoResponders: nothing serves the subject.
        """
        self._token += 1
        token = f"{self._token:x}"
        answered: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._requests[token] = answered
        try:
            async with asyncio.timeout(timeout):
                await self._inbox.open()
                await self.publish(subject, payload, self._inbox.prefix + token, headers)
                answer = await answered
        except TimeoutError:
            raise Unavailable("nats", "no answer in time") from None
        finally:
            del self._requests[token]
        if not answer.data and (answer.headers or {}).get("Status") == _NOBODY:
            self.check_soon()
            raise NoResponders("nats", "nothing serves the subject")
        return answer

    async def api(self, operation: str, document: dict[str, Any] | None = None) -> dict[str, Any]:
        """Do a JetStream API request such as ``STREAM.INFO.x``. Raises ApiError when the server refuses, else Unavailable."""
        answer = await self.request(
            f"$JS.API.{operation}", json.dumps(document).encode() if document is not None else b""
        )
        try:
            decoded: dict[str, Any] = json.loads(answer.data)
        except ValueError as error:
            raise Unavailable("nats", "an answer that is no JSON") from error
        if refusal := decoded.get("error"):
            raise ApiError(refusal)
        return decoded

    async def _answered(self, message: Msg) -> None:
        answered = self._requests.get(token_of(message))
        if answered is not None and not answered.done():
            answered.set_result(message)

    async def open(self) -> None:
        """Connect and make sure of the streams, however long it takes."""
        await self._connect()
        while True:
            try:
                await self._look_at_layout()
                break
            except Unavailable as error:
                self._log_now_and_then("JetStream does not serve yet", str(error))
                await asyncio.sleep(_RETRY_WAIT)
        self._came_up.clear()

    async def keep(self) -> None:
        """Look after the connection until cancelled."""
        while True:
            try:
                await self._look_after()
            except Exception:
                log.exception("looking after the connection failed; trying again", part="nats")
                await asyncio.sleep(1)

    async def _look_after(self) -> None:
        while True:
            waits = [asyncio.ensure_future(event.wait()) for event in (self._came_up, self._closed, self._check_due)]
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
                await self._mend()

    async def close(self) -> None:
        """Send what is under way and close, within a few seconds."""
        self._leaving = True
        self._up.clear()
        if self.client.is_connected:
            with suppress(*_FAULTS):
                async with asyncio.timeout(_DRAIN_SECONDS):
                    await self.client.drain()
        await _close_quietly(self.client)

    async def _run_hooks(self) -> None:
        for hook in list(self._hooks):
            try:
                await hook()
            except Unavailable as error:
                log.warning("not taken up again after a reconnect", part="nats", detail=str(error))
                self._came_up.set()
                await asyncio.sleep(_RETRY_WAIT)
            except Exception:
                log.exception("not taken up again after a reconnect", part="nats")

    async def _look_at_layout(self) -> None:
        """Make the streams, or wait for who makes them. Raises Unavailable."""
        if self.part is None or self.part in LAYOUT_KEEPERS:
            await ensure_layout(self, self.settings)
        else:
            await expect_layout(self, self.part)

    async def _mend(self) -> None:
        try:
            await self._look_at_layout()
        except Unavailable as error:
            self._log_now_and_then("JetStream does not serve", str(error))
            await asyncio.sleep(_RETRY_WAIT)
            self._check_due.set()

    async def _connect(self) -> None:
        self._closed.clear()
        options: dict[str, Any] = {}
        if self.part is not None:
            options["inbox_prefix"] = inbox_prefix(self.part).encode()
        if self.settings.nats_creds_file is not None:
            options["user_credentials"] = str(self.settings.nats_creds_file)
        elif self._password is not None:
            options["user"], options["password"] = self._user, self._password
        elif self._user is not None:
            options["token"] = self._user
        if any(server.startswith(("tls:", "wss:")) for server in self._servers):
            options["tls"] = verifying_context()
        while True:
            client = _Client()
            try:
                await client.connect(
                    self._servers,
                    name=self.name,
                    error_cb=self._on_error,
                    disconnected_cb=self._on_disconnected,
                    reconnected_cb=self._on_connected,
                    closed_cb=self._on_closed,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=_RETRY_WAIT,  # type: ignore[arg-type]  # any number of seconds will do
                    connect_timeout=_CONNECT_SECONDS,
                    ping_interval=_PING_SECONDS,
                    max_outstanding_pings=_PINGS_UNANSWERED,
                    pending_size=0,
                    drain_timeout=round(_DRAIN_SECONDS) - 1,
                    **options,
                )
                break
            except _FAULTS as error:
                self._log_now_and_then("NATS cannot be reached", _describe(error))
                await _close_quietly(client)
                await asyncio.sleep(_RETRY_WAIT)
            except asyncio.CancelledError:
                await _close_quietly(client)
                raise
        self.client = client
        await self._on_connected()

    async def _on_connected(self) -> None:
        log.info("connected to NATS", server=self.client.connected_url.netloc if self.client.connected_url else "")
        self._up.set()
        self._came_up.set()

    async def _on_disconnected(self) -> None:
        if self._up.is_set():
            log.warning("connection to NATS lost")
        self._up.clear()
        for answered in self._requests.values():
            if not answered.done():
                answered.set_exception(Unavailable("nats", "the connection broke"))
        for hook in list(self._down_hooks):
            hook()

    async def _on_closed(self) -> None:
        self._up.clear()
        if not self._leaving:
            log.error("NATS closed the connection", detail=_describe(self.client.last_error))
            self._closed.set()

    async def _on_error(self, error: Exception) -> None:
        if not self._leaving:
            self._log_now_and_then("trouble with NATS", _describe(error))

    def _log_now_and_then(self, event: str, detail: str) -> None:
        now = time.monotonic()
        if now - self._logged.get(event + detail, -_LOG_EVERY) >= _LOG_EVERY:
            self._logged = {key: at for key, at in self._logged.items() if now - at < _LOG_EVERY}
            self._logged[event + detail] = now
            log.warning(event, detail=detail)


async def _close_quietly(client: Client) -> None:
    if not client.is_closed:
        with suppress(Exception):  # one that never connected cannot be closed, and need not be
            async with asyncio.timeout(1):
                await client.close()


@asynccontextmanager
async def connect(settings: NatsSettings, name: str, part: str | None = None) -> AsyncIterator[Connection]:
    """Connect to NATS and make sure that the streams, the consumer and the bucket are there as the settings say.

    ``part`` is the user of ``permissions`` that connects; one that makes no streams waits for those it needs. None: the one
    that the URL names, else the administrator.

    Waits for NATS as long as it takes; what is wrong meanwhile is in the log. On leaving, the connection is drained within
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
            keeper.cancel()
            with suppress(asyncio.CancelledError):
                await keeper
        await connection.close()


def split_urls(urls: str) -> tuple[list[str], str | None, str | None]:
    """Split ``nats://user:password@host:port,host:port`` into URLs without credentials, user and password.

    The first credentials hold for all servers; both parts may be percent-encoded. A user without a password is a token.
    """
    servers: list[str] = []
    user: str | None = None
    password: str | None = None
    scheme = "nats"
    for url in urls.split(","):
        given, separator, rest = url.strip().partition("://")
        scheme, place = (given, rest) if separator else (scheme, given)
        if not place:
            continue
        credentials, at, host = place.rpartition("@")
        if at and user is None:
            name, colon, secret = credentials.partition(":")
            user, password = unquote(name), unquote(secret) if colon else None
        try:
            parts = urlsplit(f"{scheme}://{host}")
            bad = not parts.hostname or parts.port == 0
        except ValueError:
            bad = True
        if bad:
            raise SystemExit("refusing to start: POSTHORN_NATS_URL: must be nats://[user:password@]host[:port][,…]")
        servers.append(f"{scheme}://{host.rstrip('/')}")
    return servers, user, password


def _describe(error: BaseException | None) -> str:
    text = f"{type(error).__name__}: {error}" if error is not None else ""
    return re.sub(r"//[^/@\s]*@", "//", text)
