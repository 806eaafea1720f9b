"""The listeners of the inbound SMTP service."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import structlog

from posthorn.runtime.http import bind
from posthorn.runtime.listen import ConnectionLimiter
from posthorn.runtime.proxy_protocol import SessionFactory, TrustedProxies, listen_behind_proxy
from posthorn_smtp_in.authenticator import SmtpAuthenticator
from posthorn_smtp_in.context import ServerContext
from posthorn_smtp_in.protocol import SmtpProtocol
from posthorn_smtp_in.settings import SubmissionSettings
from posthorn_smtp_in.spool_limits import SpoolLimits

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the service listens, and what its sessions share."""

    port: int
    """Where TLS comes by STARTTLS."""
    limiter: ConnectionLimiter
    spool_limits: SpoolLimits
    tls_port: int | None = None
    """Where TLS comes first."""
    proxy_port: int | None = None
    """As ``port``, for proxies that send a PROXY header."""
    proxy_tls_port: int | None = None
    """As ``tls_port``, for such proxies."""


@asynccontextmanager
async def serving(context: ServerContext, *, grace: float) -> AsyncIterator[Listening]:
    """Serve the mx role, with STARTTLS when there is a certificate. On leaving, sessions are
    drained within ``grace`` seconds."""
    settings = context.settings
    async with AsyncExitStack() as stack:
        listeners = _Listeners(stack, context, grace)
        make_session = partial(_session, context)
        proxy_port = await listeners.behind_proxy(
            settings.smtp_proxy_port, "POSTHORN_SMTP_PROXY_PORT", make_session
        )
        port = await listeners.open(settings.smtp_port, "POSTHORN_SMTP_PORT", make_session)
        log.info("listening", smtp=port, smtp_proxy=proxy_port)
        yield Listening(port, context.limiter, context.limits, proxy_port=proxy_port)


@asynccontextmanager
async def serving_submission(
    settings: SubmissionSettings,
    context: ServerContext,
    authenticator: SmtpAuthenticator,
    *,
    grace: float,
) -> AsyncIterator[Listening]:
    """Serve the submission role: STARTTLS on one port, and TLS from the first byte on another. Ends
    as ``serving`` does.

    Raises SystemExit when nobody could log in for want of a certificate.
    """
    tls = context.configuration.tls_context
    if tls is None and settings.smtp_cleartext_auth == "never":
        raise SystemExit(
            "refusing to start: POSTHORN_TLS_DIR is not set, so there is no TLS, and"
            " POSTHORN_SMTP_CLEARTEXT_AUTH=never takes no logins without: set POSTHORN_TLS_DIR"
        )
    async with AsyncExitStack() as stack:
        listeners = _Listeners(stack, context, grace)
        make_session = partial(_session, context)
        tls_port = proxy_tls_port = None
        if tls is not None:
            secure, wanted = partial(make_session, secure=True), settings.submissions_proxy_port
            proxy_tls_port = await listeners.behind_proxy(
                wanted, "POSTHORN_SUBMISSIONS_PROXY_PORT", secure, tls
            )
            tls_port = await listeners.open(
                settings.submissions_port, "POSTHORN_SUBMISSIONS_PORT", secure, tls
            )
        wanted = settings.submission_proxy_port
        proxy_port = await listeners.behind_proxy(
            wanted, "POSTHORN_SUBMISSION_PROXY_PORT", make_session
        )
        port = await listeners.open(
            settings.submission_port, "POSTHORN_SUBMISSION_PORT", make_session
        )
        log.info(
            "listening",
            submission=port,
            submissions=tls_port,
            submission_proxy=proxy_port,
            submissions_proxy=proxy_tls_port,
        )
        watch = asyncio.create_task(authenticator.keep_watch(), name="watch")
        stack.callback(watch.cancel)
        yield Listening(port, context.limiter, context.limits, tls_port, proxy_port, proxy_tls_port)


def _session(context: ServerContext, client: str | None, *, secure: bool = False) -> SmtpProtocol:
    return SmtpProtocol(context, secure=secure, client=client)


class _Listeners:
    """The process's listeners, which share a limiter and close with the stack."""

    def __init__(
        self,
        stack: AsyncExitStack,
        context: ServerContext,
        grace: float,
    ) -> None:
        self._stack = stack
        self._settings = context.settings
        self._limiter = context.limiter
        self._grace = grace
        self._proxies = TrustedProxies(context.settings.proxy_networks, context.limiter)
        turning = asyncio.create_task(context.wheel.run(), name="smtp times")
        stack.callback(turning.cancel)

    async def behind_proxy(
        self,
        port: int | None,
        variable: str,
        make_session: SessionFactory,
        tls: ssl.SSLContext | None = None,
    ) -> int | None:
        """Listen for connections with a PROXY header, if there is to be such a port; return it."""
        return (
            None
            if port is None
            else await self.open(port, variable, make_session, tls, self._proxies)
        )

    async def open(
        self,
        port: int,
        variable: str,
        make_session: SessionFactory,
        tls: ssl.SSLContext | None = None,
        proxies: TrustedProxies | None = None,
    ) -> int:
        """Listen; return the port. Raises SystemExit naming the variable when it cannot be had."""
        shared = self._settings.smtp_processes > 1
        listener = bind(self._settings.smtp_host, port, variable, shared=shared)
        seconds = self._settings.smtp_handshake_seconds
        return await self._stack.enter_async_context(
            listen_behind_proxy(
                make_session,
                listener,
                self._limiter,
                proxies,
                grace=self._grace,
                tls=tls,
                handshake_seconds=seconds,
            )
        )
