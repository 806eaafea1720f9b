"""What all connections of a process share."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from posthorn.runtime.connection_limiter import ConnectionLimiter
from posthorn_smtp_in.policy import Policy
from posthorn_smtp_in.settings import SmtpSettings
from posthorn_smtp_in.spool_limits import SpoolLimits


@dataclass(frozen=True, slots=True)
class ServerContext:
    """What all connections of a process share."""

    settings: SmtpSettings
    policy: Policy
    limits: SpoolLimits
    limiter: ConnectionLimiter
    tls: ssl.SSLContext | None
