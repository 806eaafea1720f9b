"""Settings of the IMAP service."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from posthorn.runtime.env_settings import Bytes, Pairs, Port, Seconds
from posthorn.runtime.oidc.settings import OidcMailSettings
from posthorn.runtime.setting_lists import listed
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
from posthorn.wire.imap.capabilities import CAPABILITIES

Count = Annotated[int, Field(ge=1)]
_BY_NAME = {name.upper(): name for name in CAPABILITIES}


def _capability(name: str) -> str:
    if name.upper() not in _BY_NAME:
        raise ValueError(f"not one of {', '.join(CAPABILITIES)}")
    return _BY_NAME[name.upper()]


class ImapSettings(
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
    """Settings of the IMAP service."""

    NEEDED: ClassVar[Pairs] = (("imaps_proxy_port", "tls_dir"),)

    imap_host: str = ""
    """Address to listen on; empty: all addresses, IPv4 and IPv6."""
    imap_port: Port = 2143
    """IMAP, with STARTTLS when there is a certificate."""
    imap_proxy_port: ProxyPort = None
    """The same for load balancers that send a PROXY header first, from ``proxy_networks`` alone;
    unset, it is closed."""
    imaps_port: Port = 2993
    """IMAP over TLS from the first byte; used only with a certificate."""
    imaps_proxy_port: ProxyPort = None
    """The same for load balancers: the PROXY header in plain, then TLS; unset, it is closed."""
    imap_cleartext: Literal["loopback", "never"] = "never"
    """Where passwords are taken without TLS: from this very host, or nowhere. Behind a proxy in
    the pod every client seems to be on this host. A client behind a PROXY header is never on
    this host."""
    imap_connections: Count = 10_000
    """Concurrent connections in this process."""
    imap_connections_per_address: Count = 500
    """Concurrent connections from one client address, which on ports with a PROXY header is the
    address in it; on the others all clients of a load balancer that hides addresses count as
    one."""
    imap_connections_per_network: Count = 2000
    """Concurrent connections from one IPv4 /24 or IPv6 /48, and half as many from a /56; never
    fewer than from one address. Networks of private addresses are not counted."""
    imap_connections_per_account: Count = 60
    """Concurrent connections of one account in this process: a person with several devices keeps
    15 to 20 open."""
    imap_stress_seconds: Seconds = 10.0
    """Time from connection to login while four fifths of the places are taken."""
    imap_login_seconds: Seconds = 60.0
    """Time from connection to login."""
    imap_idle_seconds: Seconds = 1860.0
    """Time without a byte from a client that has logged in. RFC 9051 §5.4 asks for at least 30
    minutes."""
    imap_keepalive_seconds: Seconds = 120.0
    """How often a client in IDLE is told that the server is there, so that no middlebox takes the
    connection for dead."""
    imap_write_seconds: Seconds = 120.0
    """How long a client may take nothing of what is sent to it."""
    imap_login_attempts: Count = 3
    """Wrong passwords on one connection at which it is closed."""
    imap_failure_delay_seconds: Annotated[float, Field(ge=0)] = 1.0
    """Delay before a wrong password is answered."""
    imap_cache_bytes: Bytes = 64 * 1024 * 1024
    """Bytes of bodies read lately that are kept in memory."""
    imap_large_bytes: Bytes = 64 * 1024 * 1024
    """Bytes of large messages, read in part, that are kept for their connections, all together."""
    imap_message_bytes: Bytes = 50 * 1024 * 1024
    """Bytes of the largest message that APPEND accepts (APPENDLIMIT)."""
    imap_searches: Count = 4
    """Searches of this process that read messages at the same time; others wait. Those that ask
    for flags, dates, sizes and UIDs alone are not counted."""
    imap_searches_per_account: Count = 2
    """Searches of one account in this process that read messages at the same time."""
    imap_poll_seconds: Seconds = 30.0
    """How often all selected mailboxes are compared with the store, in case a hint was lost."""
    scram: bool = False
    """Offer SCRAM-SHA-256. It works for an account's own password, after one login by PLAIN or
    LOGIN while this is set, and not for app passwords. Clients that try nothing else where it is
    announced cannot log in before that (ADR 35)."""
    imap_hidden_capabilities: Annotated[
        tuple[Annotated[str, AfterValidator(_capability)], ...], NoDecode, BeforeValidator(listed)
    ] = ()
    """Capabilities that are shown to nobody, such as ``QRESYNC``, by comma or as a JSON list: the
    cure when a client misuses one. Accounts have a list of their own."""
