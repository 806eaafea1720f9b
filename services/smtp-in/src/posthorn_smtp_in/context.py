"""What all connections of a process share."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field

from aiosmtpd.smtp import SMTP

from posthorn.runtime.connection_limiter import ConnectionLimiter
from posthorn.runtime.timer_wheel import TimerWheel
from posthorn_smtp_in.policy import Policy
from posthorn_smtp_in.settings import SmtpSettings
from posthorn_smtp_in.spool_limits import SpoolLimits


class _NoHooks:
    """A handler for aiosmtpd that has none of its hooks."""

    def __dir__(self) -> tuple[str, ...]:
        return ()


_NO_HOOKS = _NoHooks()


class SmtpConfiguration(SMTP):
    """aiosmtpd's protocol class, for the configuration that it checks and holds; never a
    connection (ADR 37). Must be made while a loop runs."""

    def __init__(self, settings: SmtpSettings, tls: ssl.SSLContext | None) -> None:
        super().__init__(
            _NO_HOOKS,
            hostname=settings.smtp_hostname,
            ident="Posthorn",
            data_size_limit=settings.smtp_message_max_bytes,
            enable_SMTPUTF8=True,
            tls_context=tls,
            timeout=settings.smtp_command_seconds,
            loop=asyncio.get_running_loop(),
        )

    def __dir__(self) -> tuple[str, ...]:
        # aiosmtpd's constructor looks for its commands and hooks by name, in all attributes: there
        # are none to be found
        return ()


@dataclass(frozen=True, slots=True)
class ServerContext:
    """What all connections of a process share."""

    settings: SmtpSettings
    policy: Policy
    limits: SpoolLimits
    limiter: ConnectionLimiter
    configuration: SmtpConfiguration
    wheel: TimerWheel = field(default_factory=TimerWheel)
    """Deadlines of the connections."""
