"""Settings of the inbound SMTP service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from posthorn.runtime.listen import HANDSHAKE_SECONDS
from posthorn.runtime.settings import (
    BlobSettings,
    IntakeSettings,
    NatsSettings,
    Octets,
    Port,
    PostgresSettings,
    ProcessSettings,
    ProxyPort,
    ProxySettings,
    RateSettings,
    Seconds,
    SrsSettings,
    TlsSettings,
)

Count = Annotated[int, Field(ge=1)]


class SmtpSettings(IntakeSettings, ProxySettings):
    """How SMTP is spoken: names, limits, patience."""

    smtp_role: Literal["mx", "submission"] = "mx"
    """``mx`` takes mail from other servers for the domains here; ``submission`` takes mail from people with an account for
    anybody, and needs Postgres."""
    smtp_host: str = "0.0.0.0"
    """Address to listen on."""
    smtp_port: Port = 2525
    """SMTP in the role mx, with STARTTLS when there is a certificate."""
    smtp_proxy_port: ProxyPort = None
    """The same for balancers that send a PROXY header first, from ``proxy_networks`` alone; unset, there is no such port."""

    smtp_max_size: Octets = 50 * 1024**2
    """Largest message, in octets as sent (RFC 1870)."""
    smtp_max_recipients: Count = 100
    """Recipients of one message; the rest is told 452, to be sent separately."""
    smtp_max_hops: Count = 50
    """Received fields beyond which a message is taken to loop (RFC 5321 §6.3)."""
    smtp_max_passes: Count = 5
    """Times that a message may have been here before, by Received fields of ours or marks of aliases; beyond it is taken to
    loop."""
    smtp_max_errors: Count = 10
    """Commands that cannot be obeyed, in one session, at which it is closed with 421."""
    smtp_max_unknown: Count = 20
    """Unknown recipients in one session, at which it is closed with 421: a brake on harvesting."""
    smtp_sessions: Count = 1000
    """Sessions at a time in this process."""
    smtp_sessions_per_address: Count = 50
    """Sessions at a time from one client address, told by the balancer on the ports for balancers; on the others all clients of
    a balancer that hides addresses count as one."""

    smtp_sessions_per_network: Count = 200
    """Sessions at a time from one IPv4 /24 or IPv6 /48, and half as many from a /56; never fewer than from one address. Networks of
    private addresses are not counted: balancers and nodes that hide their clients."""
    smtp_stress_seconds: Seconds = 10.0
    """While four fifths of the places are taken: how long a client may take until it logs in (submission) or begins a transaction,
    and between its commands until its message begins."""

    smtp_memory_bytes: Octets = 64 * 1024**2
    """Octets of messages coming in that all sessions together hold in memory; beyond it they go to disk early. One network of
    clients holds an eighth of what is free at most, here and on disk."""
    smtp_spool_bytes: Octets = 2 * 1024**3
    """Octets of messages coming in that lie on disk; beyond it clients are told 452."""
    smtp_input_bytes: Octets = 64 * 1024**2
    """Octets read from clients and not handled yet, of all sessions together; who goes beyond it is closed with 421."""
    smtp_spool_dir: Path | None = None
    """Directory for the temporary files (unlinked while open); unset, the system's. Should not be memory-backed."""

    smtp_command_seconds: Seconds = 300.0
    """From one command to the next, and for a client to take its replies (RFC 5321 §4.5.3.2.7)."""
    smtp_data_seconds: Seconds = 180.0
    """Without an octet during a message (RFC 5321 §4.5.3.2.5)."""
    smtp_least_rate: Annotated[float, Field(gt=0)] = 1000.0
    """Octets a second that a message must come in at,"""
    smtp_least_rate_seconds: Seconds = 60.0
    """but for so long in all, and again as far as it came faster since. A slower one is closed with 421."""
    smtp_session_seconds: Seconds = 3600.0
    """A session as a whole, however busy; a message whose end has come is still answered."""
    smtp_handshake_seconds: Seconds = HANDSHAKE_SECONDS
    """A TLS handshake."""
    smtp_accept_seconds: Seconds = 20.0
    """How long the stream is tried, under the same message id, before the client is told 451."""
    smtp_store_seconds: Seconds = 120.0
    """How long the blob store may take for one large message."""


class SubmissionSettings(SmtpSettings, RateSettings):
    """What the submission role can be told besides."""

    submission_port: Port = 2587
    """Submission with STARTTLS (RFC 6409)."""
    submission_proxy_port: ProxyPort = None
    """The same for balancers that send a PROXY header first, from ``proxy_networks`` alone; unset, there is no such port."""
    submissions_port: Port = 2465
    """Submission over TLS from the first octet (RFC 8314); used only with a certificate."""
    submissions_proxy_port: ProxyPort = None
    """The same for balancers: the PROXY header in plain, then TLS; unset, there is no such port."""
    smtp_cleartext_auth: Literal["loopback", "never"] = "never"
    """Where logins are taken without TLS: from this very host, or nowhere. Who came by a balancer is never from this host."""
    submission_check_from: bool = True
    """Refuse messages whose From field names an address that the account does not own."""
    submission_trace_client: bool = False
    """Tell name and address of the client in the Received field."""
    submission_failures_per_address: Count = 30
    """Failed logins from one client address in ten minutes (of IPv6, from one /64) at which more are not looked at."""
    submission_failures_per_account: Count = 10
    """Failed logins to one account in ten minutes at which more are not looked at, but from where it logged in lately."""
    submission_sessions_per_account: Count = 100
    """Sessions at a time that are logged in to one account, in this process. A tenant may hold four times the places that no login
    holds, so that there is always room for another."""
    submission_login_seconds: Seconds = 60.0
    """From connection to login; after it ``smtp_session_seconds`` counts."""
    submission_login_attempts: Count = 3
    """Failed logins on one connection at which it is closed with 421."""
    submission_failure_delay_seconds: Annotated[float, Field(ge=0, le=8)] = 1.0
    """Before a failed login is answered; doubled by each further one on the connection, up to 8 seconds."""


class SmtpInSettings(ProcessSettings, NatsSettings, BlobSettings, TlsSettings, SrsSettings, SmtpSettings):
    """What the inbound SMTP service can be told in the role mx."""


class SubmissionInSettings(SmtpInSettings, PostgresSettings, SubmissionSettings):
    """What it can be told in the role submission."""
