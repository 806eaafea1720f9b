"""Settings of the inbound SMTP service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from posthorn.runtime.settings import (
    BlobSettings,
    EnvSettings,
    NatsSettings,
    Octets,
    Port,
    ProcessSettings,
    Seconds,
    TlsSettings,
)
from posthorn.wire.address import canonical_domain, parse_address

Count = Annotated[int, Field(ge=1)]
INLINE_CEILING = 768 * 1024
"""The most that ``smtp_inline_bytes`` may be: with its envelope it must pass through NATS, whose limit is 1 MiB."""


def _postmaster(value: str | None) -> str | None:
    return str(parse_address(value)) if value else None


class SmtpSettings(EnvSettings):
    """How SMTP is spoken: names, limits, patience."""

    smtp_host: str = "0.0.0.0"
    """Address to listen on."""
    smtp_port: Port = 2525
    """SMTP, with STARTTLS when there is a certificate."""
    smtp_hostname: Annotated[str, AfterValidator(canonical_domain)] = "localhost"
    """The name in the greeting and in Received fields: what the MX record names."""
    smtp_postmaster: Annotated[str | None, AfterValidator(_postmaster)] = None
    """Address that takes mail for ``<Postmaster>`` without a domain (RFC 5321 §4.5.1); unset, ``postmaster@`` the host name,
    if there is such an address."""

    smtp_max_size: Octets = 50 * 1024**2
    """Largest message, in octets as sent (RFC 1870)."""
    smtp_max_recipients: Count = 100
    """Recipients of one message; the rest is told 452, to be sent separately."""
    smtp_max_hops: Count = 50
    """Received fields beyond which a message is taken to loop (RFC 5321 §6.3)."""
    smtp_max_errors: Count = 10
    """Commands that cannot be obeyed, in one session, at which it is closed with 421."""
    smtp_max_unknown: Count = 20
    """Unknown recipients in one session, at which it is closed with 421: a brake on harvesting."""
    smtp_sessions: Count = 1000
    """Sessions at a time in this process."""
    smtp_sessions_per_address: Count = 50
    """Sessions at a time from one client address; behind a balancer that hides addresses, all count as one."""

    smtp_inline_bytes: Annotated[int, Field(ge=0, le=INLINE_CEILING)] = 512 * 1024
    """Stored size up to which a message rides in the stream; larger ones go to the blob store first."""
    smtp_memory_bytes: Octets = 64 * 1024**2
    """Octets of messages coming in that all sessions together hold in memory; beyond it they go to disk early."""
    smtp_spool_bytes: Octets = 2 * 1024**3
    """Octets of messages coming in that lie on disk; beyond it clients are told 452."""
    smtp_spool_dir: Path | None = None
    """Directory for the temporary files (unlinked while open); unset, the system's. Should not be memory-backed."""

    smtp_command_seconds: Seconds = 300.0
    """From one command to the next, and for a client to take its replies (RFC 5321 §4.5.3.2.7)."""
    smtp_data_seconds: Seconds = 180.0
    """Without an octet during a message (RFC 5321 §4.5.3.2.5)."""
    smtp_session_seconds: Seconds = 3600.0
    """A session as a whole, however busy; a message whose end has come is still answered."""
    smtp_handshake_seconds: Seconds = 30.0
    """A TLS handshake."""
    smtp_accept_seconds: Seconds = 20.0
    """How long the stream is tried, under the same message id, before the client is told 451."""
    smtp_store_seconds: Seconds = 120.0
    """How long the blob store may take for one large message."""


class SmtpInSettings(ProcessSettings, NatsSettings, BlobSettings, TlsSettings, SmtpSettings):
    """What the inbound SMTP service can be told."""
