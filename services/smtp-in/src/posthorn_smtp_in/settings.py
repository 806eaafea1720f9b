"""Settings of the inbound SMTP service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from posthorn.runtime.env_settings import Bytes, Pairs, Port, Seconds
from posthorn.runtime.listen import HANDSHAKE_SECONDS
from posthorn.runtime.oidc.settings import OidcMailSettings
from posthorn.runtime.settings import (
    BlobSettings,
    FramesSettings,
    IntakeSettings,
    LoginLimitSettings,
    NatsSettings,
    PostgresSettings,
    ProcessSettings,
    ProxyPort,
    ProxySettings,
    RateSettings,
    SrsSettings,
    TlsSettings,
)
from posthorn.runtime.traces import TraceSettings

Count = Annotated[int, Field(ge=1)]


class SmtpSettings(IntakeSettings, ProxySettings):
    """Names, limits and time-outs of SMTP."""

    ORDERED: ClassVar[Pairs] = (("smtp_message_max_bytes", "smtp_spool_bytes"),)

    smtp_role: Literal["mx", "submission"] = "mx"
    """``mx`` takes mail from other servers for the domains here; ``submission`` takes mail from
    people with an account for any recipient, and needs Postgres."""
    smtp_host: str = ""
    """Address to listen on; empty: all addresses, IPv4 and IPv6."""
    smtp_port: Port = 2525
    """SMTP in the role mx, with STARTTLS when there is a certificate."""
    smtp_proxy_port: ProxyPort = None
    """The same for load balancers that send a PROXY header first, from ``proxy_networks`` alone;
    unset, it is closed."""

    smtp_message_max_bytes: Bytes = 50 * 1024**2
    """Largest message, in bytes as sent (RFC 1870)."""
    smtp_max_recipients: Count = 100
    """Recipients of one message; further ones are refused with 452, to be sent separately."""
    smtp_max_hops: Count = 100
    """Received fields beyond which a message is taken to loop (RFC 5321 §6.3: at least 100)."""
    smtp_max_passes: Count = 5
    """Times that a message may have been here before, by Received fields of ours or marks of
    aliases; beyond that it loops."""
    smtp_max_errors: Count = 10
    """Invalid commands in one session at which it is closed with 421."""
    smtp_max_unknown: Count = 20
    """Unknown recipients in one session at which it is closed with 421, against address
    harvesting."""
    smtp_processes: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes of this pod, which share its ports; one uses a core at most. ``smtp_sessions``,
    ``smtp_memory_bytes``, ``smtp_spool_bytes`` and ``smtp_input_bytes`` are divided among them; all
    other limits and counts hold in each process by itself (ADR 37)."""
    smtp_sessions: Count = 1000
    """Concurrent sessions in this pod."""
    smtp_sessions_per_address: Count = 50
    """Concurrent sessions from one client address, which on ports with a PROXY header is the
    address in it; on the others all clients of a load balancer that hides addresses count as
    one."""

    smtp_sessions_per_network: Count = 200
    """Concurrent sessions from one IPv4 /24 or IPv6 /48, and half as many from a /56; never
    fewer than from one address. Networks of private addresses are not counted: load balancers
    and nodes that hide their clients."""
    smtp_stress_seconds: Seconds = 10.0
    """While four fifths of the places are taken: the time until a client logs in (submission) or
    begins a transaction, and between its commands until its message begins."""

    smtp_memory_bytes: Bytes = 64 * 1024**2
    """Bytes of incoming messages that all sessions together hold in memory; beyond that they go
    to disk early. One network of clients holds an eighth of what is free at most, here and on
    disk."""
    smtp_spool_bytes: Bytes = 2 * 1024**3
    """Bytes of incoming messages on disk; beyond that clients get 452."""
    smtp_input_bytes: Bytes = 64 * 1024**2
    """Bytes read from clients and not handled yet, of all sessions together; a session that goes
    beyond it is closed with 421."""
    smtp_spool_dir: Path | None = None
    """Directory for the temporary files (unlinked while open); unset, the system's. Should not
    be memory-backed."""

    smtp_refused_events_per_minute: Count = 100
    """Refusals of this process that become events, by which they are found; more are in the log and
    in the metrics only. What is refused for its content is always an event."""
    smtp_refused_events_per_client: Count = 10
    """The same of one client address in a minute."""

    smtp_command_seconds: Seconds = 300.0
    """Time from one command to the next, and for a client to take its replies (RFC 5321
    §4.5.3.2.7)."""
    smtp_data_seconds: Seconds = 180.0
    """Time without a byte during a message (RFC 5321 §4.5.3.2.5)."""
    smtp_least_rate: Annotated[float, Field(gt=0)] = 1000.0
    """Bytes per second at which a message must come in."""
    smtp_least_rate_seconds: Seconds = 60.0
    """Time for which a message may come in slower than that in all, less what it came faster
    since. Then it is closed with 421."""
    smtp_session_seconds: Seconds = 3600.0
    """Duration of a session, however busy; a message whose end has come is still answered."""
    smtp_handshake_seconds: Seconds = HANDSHAKE_SECONDS
    """Duration of a TLS handshake."""
    smtp_accept_seconds: Seconds = 20.0
    """How long the stream is tried, under the same message id, before the client gets 451."""
    smtp_store_seconds: Seconds = 120.0
    """How long the blob store may take for one large message."""

    smtp_scan: bool = False
    """Ask the scanning tier about clients and messages (role mx). While it does not answer, mail is
    accepted all the same, and scanned before it is delivered."""
    smtp_scan_sender_seconds: Annotated[float, Field(gt=0, le=30)] = 2.0
    """How long the scanning tier may take to say what is known of a client."""
    smtp_scan_message_seconds: Annotated[float, Field(gt=0, le=120)] = 10.0
    """How long the scanning tier may take to judge a message."""
    smtp_greeting_delay_seconds: Annotated[float, Field(ge=0, le=10)] = 0.5
    """Time before a public client is greeted (role mx); one that speaks before is refused. 0: it is
    greeted at once."""
    smtp_tarpit_seconds: Annotated[float, Field(ge=0, le=10)] = 1.0
    """Time before a public client is told of an unknown recipient, from the fourth in a session on
    (role mx)."""
    smtp_ban_faults: Count = 100
    """Unknown recipients and protocol errors of a public client, less its accepted messages, within
    ``smtp_ban_seconds``, at which this process refuses its connections with 421 for as long (role
    mx)."""
    smtp_ban_seconds: Annotated[float, Field(ge=0, le=86400)] = 600.0
    """0: this process bans nobody by its own count."""


class SubmissionSettings(SmtpSettings, RateSettings, LoginLimitSettings, OidcMailSettings):
    """Further settings of the submission role."""

    submission_port: Port = 2587
    """Submission with STARTTLS (RFC 6409)."""
    submission_proxy_port: ProxyPort = None
    """The same for load balancers that send a PROXY header first, from ``proxy_networks`` alone;
    unset, it is closed."""
    submissions_port: Port = 2465
    """Submission over TLS from the first byte (RFC 8314); used only with a certificate."""
    submissions_proxy_port: ProxyPort = None
    """The same for load balancers: the PROXY header in plain, then TLS; unset, it is closed."""
    smtp_cleartext_auth: Literal["loopback", "never"] = "never"
    """Where logins are taken without TLS: from this very host, or nowhere. A client behind a
    proxy is never on this host."""
    submission_check_from: bool = True
    """Refuse messages whose From field names an address that the account does not own."""
    submission_single_labels: bool = False
    """Accept recipients elsewhere at domains of a single label, such as hosts of your own network.
    Otherwise only fully qualified domains are accepted (RFC 6409 §4.2)."""
    submission_trace_client: bool = False
    """Put name and address of the client into the Received field."""
    submission_sessions_per_account: Count = 100
    """Concurrent sessions that are logged in to one account, in this process. A tenant may hold
    four times the places that no login holds, so that there is always a place for another."""
    submission_login_seconds: Seconds = 60.0
    """Time from connection to login; after it ``smtp_session_seconds`` counts."""
    submission_login_attempts: Count = 3
    """Failed logins on one connection at which it is closed with 421."""
    submission_failure_delay_seconds: Annotated[float, Field(ge=0, le=8)] = 1.0
    """Delay before a failed login is answered; doubled by each further one on the connection, up
    to 8 seconds."""


class SmtpInSettings(
    ProcessSettings,
    NatsSettings,
    FramesSettings,
    BlobSettings,
    TlsSettings,
    SrsSettings,
    SmtpSettings,
    TraceSettings,
):
    """Settings of the inbound SMTP service in the role mx."""


class SubmissionInSettings(SmtpInSettings, PostgresSettings, SubmissionSettings):
    """Settings of the inbound SMTP service in the role submission."""

    NEEDED: ClassVar[Pairs] = (("submissions_proxy_port", "tls_dir"),)


def service_name(settings: SmtpInSettings) -> str:
    """Return the name of the service in logs, by its role."""
    return "submission" if isinstance(settings, SubmissionInSettings) else "smtp-in"


def load_settings() -> SmtpInSettings:
    """Read the settings of the role that the environment names. Raises SettingsError."""
    settings = SmtpInSettings.load()
    return SubmissionInSettings.load() if settings.smtp_role == "submission" else settings
