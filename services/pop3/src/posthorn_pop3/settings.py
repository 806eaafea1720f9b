"""Settings of the POP3 service."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from posthorn.runtime.env_settings import Bytes, Pairs, Port, Seconds
from posthorn.runtime.oidc.settings import OidcMailSettings
from posthorn.runtime.settings import (
    BlobSettings,
    LoginLimitSettings,
    NatsSettings,
    PostgresSettings,
    ProcessSettings,
    ProxyPort,
    ProxySettings,
    TlsSettings,
)
from posthorn.runtime.traces import TraceSettings

Count = Annotated[int, Field(ge=1)]


class Pop3Settings(
    ProcessSettings,
    NatsSettings,
    PostgresSettings,
    BlobSettings,
    TlsSettings,
    ProxySettings,
    LoginLimitSettings,
    OidcMailSettings,
    TraceSettings,
):
    """Settings of the POP3 service."""

    NEEDED: ClassVar[Pairs] = (("pop3s_proxy_port", "tls_dir"),)

    pop3_host: str = ""
    """Address to listen on; empty: all addresses, IPv4 and IPv6."""
    pop3_port: Port = 2110
    """POP3, with STLS when there is a certificate."""
    pop3_proxy_port: ProxyPort = None
    """The same for load balancers that send a PROXY header first, from ``proxy_networks`` alone;
    unset, it is closed."""
    pop3s_port: Port = 2995
    """POP3 over TLS from the first byte; used only with a certificate."""
    pop3s_proxy_port: ProxyPort = None
    """The same for load balancers: the PROXY header in plain, then TLS; unset, it is closed."""
    pop3_cleartext: Literal["loopback", "never"] = "never"
    """Where passwords are taken without TLS: from this very host, or nowhere. Behind a proxy in
    the pod every client seems to be on this host. A client behind a PROXY header is never on
    this host."""
    pop3_sessions: Count = 2000
    """Concurrent sessions in this process."""
    pop3_sessions_per_address: Count = 200
    """Concurrent sessions from one client address, which on ports with a PROXY header is the
    address in it; on the others all clients of a load balancer that hides addresses count as
    one."""
    pop3_sessions_per_network: Count = 800
    """Concurrent sessions from one IPv4 /24 or IPv6 /48, and half as many from a /56; never
    fewer than from one address. Networks of private addresses are not counted: load balancers
    and nodes that hide their clients."""
    pop3_stress_seconds: Seconds = 10.0
    """Time from connection to login while four fifths of the places are taken."""
    pop3_login_seconds: Seconds = 60.0
    """Time from connection to login."""
    pop3_idle_seconds: Seconds = 600.0
    """Time between commands after login. RFC 1939 §3 asks for at least ten minutes."""
    pop3_session_seconds: Seconds = 14_400.0
    """Duration of a session, however busy; one that is ended so deletes nothing."""
    pop3_write_seconds: Seconds = 120.0
    """How long a client may take nothing of what is sent to it."""
    pop3_login_attempts: Count = 3
    """Wrong passwords on one connection at which it is closed."""
    pop3_failure_delay_seconds: Annotated[float, Field(ge=0)] = 1.0
    """Delay before a wrong password is answered."""
    pop3_cache_bytes: Bytes = 32 * 1024 * 1024
    """Bytes of bodies read lately that are kept in memory."""
    pop3_outlook_no_nuls: bool = False
    """Send NUL bytes as 0x80, for old Outlooks that hang on them. Sizes stay; signatures over
    such bytes break."""
