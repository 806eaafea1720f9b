"""Settings of the relay."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, SecretStr

from posthorn.runtime.env_settings import Pairs, Seconds
from posthorn.runtime.queue_settings import DelaySettings
from posthorn.runtime.settings import (
    BlobSettings,
    FramesSettings,
    NatsSettings,
    PostgresSettings,
    ProcessSettings,
    ReportSettings,
    ResolverSettings,
    SecretSettings,
    network_of,
)
from posthorn.runtime.traces import TraceSettings
from posthorn.wire.address import canonical_domain

Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Domain = Annotated[str, AfterValidator(canonical_domain)]


def _address_of(kind: type[IPv4Address | IPv6Address], example: str) -> AfterValidator:
    def check(text: str) -> str:
        try:
            return str(kind(text))
        except ValueError:
            raise ValueError(f"must be an address such as {example}") from None

    return AfterValidator(check)


Ipv4 = Annotated[str, _address_of(IPv4Address, "192.0.2.1")]
Ipv6 = Annotated[str, _address_of(IPv6Address, "2001:db8::1")]


class EgressSettings(ResolverSettings):
    """How the relay connects to other mail servers."""

    NEEDED: ClassVar[Pairs] = (("relay_bind_ipv6", "relay_ipv6"),)

    relay_port: Annotated[int, Field(ge=1, le=65535)] = 25
    """Port of MX hosts; other than 25 only for tests."""
    relay_direct: bool = True
    """False: destinations without a route wait; nothing is sent directly to the Internet."""
    relay_loopback: bool = False
    """Whether an MX may have a loopback address (a route always may); only for tests: such an MX
    is this host itself."""
    relay_private_networks: tuple[
        Annotated[str, AfterValidator(lambda text: str(network_of(text)))], ...
    ] = ()
    """Private networks (``10.0.0.0/8``) that an MX or an address literal may lead into, as a
    JSON list; a route always may."""
    relay_own_names: tuple[Domain, ...] = ()
    """Further names of this mail server as MX records call it, as a JSON list: mail for a
    foreign domain whose best MX is one of them is refused as a loop (5.4.6)."""
    relay_bind_ipv4: Ipv4 | None = None
    """Local address that connections leave from."""
    relay_bind_ipv6: Ipv6 | None = None
    """The same for IPv6."""
    relay_ipv6: bool = True
    """False: IPv4 alone is used."""
    relay_proxy: SecretStr | None = None
    """``socks5://[user:password@]host:port``: all connections go through it."""
    relay_dnssec: bool = False
    """Whether those resolvers validate and the way to them is safe: only then DANE is used (RFC
    7672)."""
    relay_mta_sts: bool = True
    """Whether MTA-STS policies of recipients' domains are followed (RFC 8461)."""
    relay_connect_seconds: Seconds = 30.0
    """A TCP connection, and apart from it a TLS handshake, and the reply to STARTTLS where plain
    text is allowed instead."""
    relay_greeting_seconds: Seconds = 300.0
    """Greeting, and replies to EHLO, MAIL and RCPT (RFC 5321 §4.5.3.2)."""
    relay_data_seconds: Seconds = 120.0
    """The reply to DATA."""
    relay_block_seconds: Seconds = 180.0
    """Time for which the remote host takes no byte of the message."""
    relay_least_rate: Annotated[float, Field(gt=0)] = 1000.0
    """Bytes of a message that a host must take per second on average, one such pause aside; a
    slower one is disconnected."""
    relay_end_seconds: Seconds = 600.0
    """The reply to the end of data."""
    relay_announce: bool = True
    """Whether the commands of a message are sent together with the end of the one before it,
    where the host offers PIPELINING (RFC 2920 §3.1); False: each message waits for the reply to
    the one before."""


class RetrySettings(DelaySettings):
    """When to try again, and when to say so."""

    ORDERED: ClassVar[Pairs] = (("relay_retry_first_seconds", "relay_retry_last_seconds"),)

    relay_retry_first_seconds: Seconds = 300.0
    """The pause after the first failed attempt."""
    relay_retry_last_seconds: Seconds = 14400.0
    """The pause doubles from the first to this one."""
    relay_retry_jitter: Fraction = 0.2
    """Each pause is longer or shorter by up to this share."""
    relay_keep_seconds: Seconds = 259200.0
    """How long ended recipients are kept in the queue."""


class RelaySettings(
    ProcessSettings,
    NatsSettings,
    FramesSettings,
    PostgresSettings,
    BlobSettings,
    SecretSettings,
    EgressSettings,
    RetrySettings,
    ReportSettings,
    TraceSettings,
):
    """All settings of the relay."""

    relay_connections: Count = 200
    """Limit of concurrent connections of this process."""
    relay_destination_connections: Count = 20
    """Limit of concurrent connections to one destination, all relays together, unless its route
    sets another."""
    relay_destination_per_minute: Count | None = None
    """Limit of messages to one destination per minute, all relays together; unset: none."""
    relay_claim: Annotated[int, Field(ge=1, le=1000)] = 50
    """Recipients that one worker claims at once."""
    relay_connection_messages: Count = 500
    """Limit of messages by one connection."""
    relay_poll_seconds: Seconds = 2.0
    """Interval at which the queue is polled without a notification."""
    relay_postmaster: str = ""
    """Address in the From field of DSNs; unset: ``MAILER-DAEMON@`` the host name."""
    relay_reports_per_domain_per_hour: Annotated[int, Field(ge=0)] = 200
    """DSNs to unauthenticated senders of one domain; 0: no limit. Those beyond it are not sent,
    and the trace says so."""
    relay_reports_per_network_per_hour: Annotated[int, Field(ge=0)] = 50
    """DSNs for unauthenticated messages from one network (/24, or /48 for IPv6); 0: no limit."""
