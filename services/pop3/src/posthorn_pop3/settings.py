"""Settings of the POP3 service."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from posthorn.runtime.settings import (
    BlobSettings,
    NatsSettings,
    Octets,
    Port,
    PostgresSettings,
    ProcessSettings,
    ProxyPort,
    ProxySettings,
    Seconds,
    TlsSettings,
)

Count = Annotated[int, Field(ge=1)]


class Pop3Settings(ProcessSettings, NatsSettings, PostgresSettings, BlobSettings, TlsSettings, ProxySettings):
    """What the POP3 service can be told."""

    pop3_host: str = "0.0.0.0"
    """Address to listen on."""
    pop3_port: Port = 2110
    """POP3, with STLS when there is a certificate."""
    pop3_proxy_port: ProxyPort = None
    """The same for balancers that send a PROXY header first, from ``proxy_networks`` alone; unset, there is no such port."""
    pop3s_port: Port = 2995
    """POP3 over TLS from the first octet; used only with a certificate."""
    pop3s_proxy_port: ProxyPort = None
    """The same for balancers: the PROXY header in plain, then TLS; unset, there is no such port."""
    pop3_cleartext: Literal["loopback", "never"] = "never"
    """Where passwords are taken without TLS: from this very host, or nowhere. Behind a proxy in the pod every client seems to be
    on this host. Who came by a balancer is never from this host."""
    pop3_sessions: Count = 2000
    """Sessions at a time in this process."""
    pop3_sessions_per_address: Count = 200
    """Sessions at a time from one client address, told by the balancer on the ports for balancers; on the others the pods of a
    balancer that hides addresses all count as one."""
    pop3_sessions_per_network: Count = 800
    """Sessions at a time from one IPv4 /24 or IPv6 /48, and half as many from a /56; never fewer than from one address. Networks of
    private addresses are not counted: balancers and nodes that hide their clients."""
    pop3_stress_seconds: Seconds = 10.0
    """From connection to login, while four fifths of the places are taken."""
    pop3_login_seconds: Seconds = 60.0
    """From connection to login."""
    pop3_idle_seconds: Seconds = 600.0
    """Between commands after login. RFC 1939 §3 asks for at least ten minutes."""
    pop3_session_seconds: Seconds = 14_400.0
    """A session as a whole, however busy; one that is ended so deletes nothing."""
    pop3_write_seconds: Seconds = 120.0
    """How long a client may take nothing of what is sent to it."""
    pop3_login_attempts: Count = 3
    """Wrong passwords on one connection."""
    pop3_failure_delay_seconds: Annotated[float, Field(ge=0)] = 1.0
    """Before a wrong password is answered."""
    pop3_cache_octets: Octets = 32 * 1024 * 1024
    """Memory for bodies read lately."""
    pop3_outlook_no_nuls: bool = False
    """Send NUL octets as 0x80, for old Outlooks that hang on them. Sizes stay; signatures over such octets break."""
