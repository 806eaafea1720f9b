"""Settings blocks that services combine; only this module, ``env_settings`` and the services'
settings modules read the environment.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import NoDecode

from posthorn.model.networks import Network, parse_network
from posthorn.model.streams import MOST_PARTITIONS
from posthorn.ports.sending import Limits
from posthorn.runtime.env_settings import Bytes, EnvSettings, Port, Seconds
from posthorn.wire.address import canonical_domain, parse_address

_SERVER = re.compile(r"(?:\[[^]]+]|[^:\[\]]*)(?::[0-9]{0,5})?")
"""One of the servers that a URL names; further ones with a scheme of their own pass as well."""


def _url(*schemes: str) -> AfterValidator:
    def check(value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError(
                f"must be a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}"
            )
        return value

    return AfterValidator(check)


def _check_servers(value: SecretStr) -> SecretStr:
    url = value.get_secret_value()
    try:
        servers = urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        servers = ":"
    if not all(map(_SERVER.fullmatch, servers.split(","))):
        raise ValueError(
            f"must be {url.partition(':')[0]}://[user:password@]host[:port], with a number as port; "
            "other characters of user and password as in %2F"
        )
    return value


_servers = AfterValidator(_check_servers)


def _readable(path: Path) -> Path:
    try:
        path.open("rb").close()
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None
    return path


class ProcessSettings(EnvSettings):
    """Settings of every process."""

    health_host: str = ""
    """Address of /healthz, /readyz and /metrics; empty: all addresses, IPv4 and IPv6."""
    health_port: Port = 9100
    """Port of these pages."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe kind of log line that is written."""
    grace_seconds: Seconds = 20.0
    """Seconds for which open sessions may continue after SIGTERM before they get 421 and are
    closed."""
    drain_delay_seconds: Annotated[float, Field(ge=0)] = 0.0
    """Seconds for which to keep accepting after SIGTERM, not ready, so that balancers notice."""


class NatsSettings(EnvSettings):
    """NATS, and the limits of the streams."""

    nats_url: Annotated[SecretStr, _url("nats", "tls"), _servers]
    """``nats://[user:password@]host:port[,…]``; several servers separated by commas."""
    nats_creds_file: Annotated[Path, AfterValidator(_readable)] | None = None
    """A NATS credentials file (JWT and seed), in place of a user and password in the URL."""
    nats_replicas: Annotated[int, Field(ge=1, le=5)] = 1
    """Replicas of every stream and bucket: 3 in a cluster."""
    ingest_max_bytes: Bytes = 8 * 1024**3
    """Byte limit of INGEST, of all its partitions together; beyond it senders get 452."""
    ingest_partitions: Annotated[int, Field(ge=1, le=MOST_PARTITIONS)] = 1
    """Streams among which publishers divide INGEST, each synced by itself (ADR 48). The same for
    all services; delivery reads all that exist, so it can be raised and lowered at any time."""
    dead_max_bytes: Bytes = 1024**3
    """Byte limit of DEAD, the stream of parked messages; beyond it they wait in the retry lane."""
    events_max_bytes: Bytes = 2 * 1024**3
    """Byte limit of EVENTS; beyond it the oldest are removed."""
    events_trim: bool = False
    """Whether lower limits of EVENTS take effect although more than a tenth of its content is
    removed at once; otherwise they are postponed."""
    events_max_age_seconds: Annotated[float, Field(ge=300)] = 14 * 86_400.0
    """Seconds for which events of messages are kept."""


class FramesSettings(EnvSettings):
    """Settings of all services that put messages on INGEST."""

    ingest_frames: bool = True
    """Whether messages that arrive while others are being stored share one stream message (a
    frame). Turn it off everywhere before a return to a release that does not read frames
    (ADR 34)."""


class DatabaseSettings(EnvSettings):
    """Where Postgres is."""

    database_url: Annotated[SecretStr, _url("postgresql", "postgres"), _servers]
    """``postgresql://user:password@host:port/database``; libpq's parameters such as ``sslmode``
    may follow."""


class PostgresSettings(DatabaseSettings):
    """How services use Postgres."""

    database_pool: Annotated[int, Field(ge=1, le=100)] = 4
    """Most connections of this process."""
    database_timeout_seconds: Seconds = 30.0
    """Time limit of one statement."""
    database_prepared: bool = True
    """False behind PgBouncer in transaction mode: no prepared statement outlives a transaction,
    no session setting is sent."""
    installation_beat_seconds: Annotated[float, Field(ge=0.1, le=60)] = 30.0
    """From one comparison of Postgres, blob store and directory bucket to the next (ADR 18), in
    seconds."""
    installation_tolerance_seconds: Annotated[float, Field(ge=60, le=1800)] = 900.0
    """Seconds by which Postgres may be behind the marks in blob store and directory bucket, as
    after a failover, before serving and deleting stop. Far below the age of orphans
    (``collector_orphan_age_seconds``)."""


class ReplicationSettings(EnvSettings):
    """Whether a failover of Postgres may lose mail."""

    database_replication: Literal["synchronous", "asynchronous"] = "synchronous"
    """synchronous: while commits do not wait for attached standbys, delivery is stopped, since a
    failover would lose acknowledged mail. asynchronous: losing the last moments before a
    failover is accepted (ADR 25)."""


class RoleSettings(EnvSettings):
    """The parts' roles in Postgres, for ``posthorn-migrate``."""

    database_role_prefix: Annotated[
        str, Field(pattern=r"^[a-z_][a-z0-9_]{0,40}$", examples=["posthorn_"])
    ] = "posthorn_"
    """Prefix of the names of the parts' roles, such as ``posthorn_pop3``. After every migration
    existing roles are granted what their part needs."""
    database_role_passwords: dict[str, SecretStr] = Field(default_factory=dict)
    """Passwords by part, as a JSON object: the roles of these parts are created, or get the
    password. The login of the migration must then have CREATEROLE."""

    @field_validator("database_role_passwords", mode="before")
    @classmethod
    def _blank_is_none(cls, value: object) -> object:
        return {} if value == "" else value


class BlobSettings(EnvSettings):
    """The blob store."""

    blobs: Annotated[SecretStr, _url("file", "s3")]
    """``file:///directory``,
    ``s3://[key:secret@]host[:port]/bucket[/prefix][?region=…&tls=yes|no]``, or
    ``s3://bucket[/prefix]`` on AWS or at ``s3_endpoint``; see
    ``posthorn.adapters.blobs.config``."""
    s3_endpoint: str | None = None
    """``[http[s]://]host[:port]`` of the S3 server, for a URL that names a bucket only."""
    s3_region: str | None = None
    """Region, unless the URL names one; without either the store is queried."""
    s3_access_key: str | None = None
    """With ``s3_secret_key``: the login, unless the URL holds one. Without either, AWS's
    variables, its credentials file, or the role of the pod or machine."""
    s3_secret_key: SecretStr | None = None
    """The secret of ``s3_access_key``."""


INLINE_CEILING = 768 * 1024
"""Maximum of ``smtp_inline_bytes``: with its envelope a body must fit in a NATS message, whose
limit is 1 MiB."""


def _address(value: str | None) -> str | None:
    return str(parse_address(value)) if value else None


class IntakeSettings(EnvSettings):
    """Settings of all services that accept messages, by SMTP or HTTP."""

    smtp_hostname: Annotated[str, AfterValidator(canonical_domain)] = "localhost"
    """Host name in the greeting and in Received fields: the name in the MX record."""
    smtp_postmaster: Annotated[str | None, AfterValidator(_address)] = None
    """Address that gets mail for ``<Postmaster>`` without a domain, and for the postmaster of
    each local domain that has neither such an address nor a catch-all (RFC 5321 §4.5.1). Unset
    or not there, ``postmaster@`` the host name or the nearest domain above it, or else the
    oldest account of the domain; otherwise that mail is refused."""
    smtp_inline_bytes: Annotated[int, Field(ge=0, le=INLINE_CEILING)] = 512 * 1024
    """Stored bytes up to which a message is kept in the stream; larger ones go to the blob store
    first."""


class RateSettings(EnvSettings):
    """Sending limits of an account, by submission and HTTP together."""

    submission_messages_per_hour: Annotated[int, Field(ge=0)] = 1000
    """Messages of one account, unless the account has a limit of its own; 0 for no limit."""
    submission_recipients_per_hour: Annotated[int, Field(ge=0)] = 5000
    """Recipients of all messages of one account, unless the account has a limit of its own; 0
    for no limit."""

    @property
    def account_limits(self) -> Limits:
        """The limits of an account without its own."""
        return Limits(
            self.submission_messages_per_hour or None, self.submission_recipients_per_hour or None
        )


def _name_server(text: str) -> str:
    server_address(text)
    return text


class LoginLimitSettings(EnvSettings):
    """How often a wrong password may be tried; one count for submission, POP3, IMAP and the API."""

    login_failures_per_address: Annotated[int, Field(ge=1)] = 30
    """Failed logins from one client address (of IPv6, from one /64) in ten minutes at which
    further ones are refused unseen."""
    login_failures_per_account: Annotated[int, Field(ge=1)] = 10
    """Failed logins to one account in ten minutes at which further ones are refused unseen, but
    not those from networks where it logged in lately."""


class ResolverSettings(EnvSettings):
    """DNS resolvers, for the relay and for the API's checks of domains."""

    relay_dns_servers: tuple[Annotated[str, AfterValidator(_name_server)], ...] = ()
    """``address`` or ``address:port`` (IPv6 in brackets), as a JSON list; unset: the system's."""
    relay_hostname: Annotated[str, AfterValidator(canonical_domain)] = "localhost"
    """Host name in the relay's EHLO; it should resolve to the address that mail is sent from,
    and back."""


class TlsSettings(EnvSettings):
    """The server certificate: a directory holding ``tls.crt`` and ``tls.key``, as Kubernetes
    mounts them."""

    tls_dir: Path | None = None
    """Without it STARTTLS, STLS and the TLS ports are not offered."""


def network_of(value: object) -> Network:
    """Return the network that a text names. Raises ValueError, which says what would be valid."""
    return parse_network(str(value).strip())


def _networks(value: object) -> tuple[Network, ...]:
    if isinstance(value, str):
        text = value.strip()
        value = (
            json.loads(text)
            if text.startswith("[")
            else [part for part in text.split(",") if part.strip()]
        )
    if not isinstance(value, list | tuple):
        raise ValueError("must be networks such as 10.0.0.0/8, by comma or as a JSON list")
    return tuple(map(_network, value))


def _network(value: object) -> Network:
    network = network_of(value)
    if (
        isinstance(network, ipaddress.IPv6Network)
        and network.prefixlen >= 96
        and network.network_address.ipv4_mapped
    ):
        network = ipaddress.IPv4Network(
            (network.network_address.ipv4_mapped, network.prefixlen - 96)
        )
    if not network.prefixlen:
        raise ValueError("a network of all addresses would let anyone claim any address")
    return network


ProxyNetworks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)]
"""Networks of proxies that are believed whom they connect for, by comma or as a JSON list; none that
holds every address."""


def _has_networks(value: int | None, info: ValidationInfo) -> int | None:
    if value is not None and info.data.get("proxy_networks") == ():
        raise ValueError(
            "needs POSTHORN_PROXY_NETWORKS, the networks of the balancers that connect to it"
        )
    return value


ProxyPort = Annotated[Port | None, AfterValidator(_has_networks)]
"""A TCP port for balancers that send a PROXY header; None: none. Must come after the fields of
ProxySettings."""


class ProxySettings(EnvSettings):
    """Balancers that pass the client's address by the PROXY protocol (v1 or v2)."""

    proxy_networks: ProxyNetworks = ()
    """Networks that balancers connect from, by comma or as a JSON list. Only they may use the
    ports that demand a PROXY header, and their header is trusted: list no network that others
    can connect from."""


def _keys_that_are(right: str) -> AfterValidator:
    """Return a check for keys of 32 bytes; ``right`` tells what would be right."""

    def check(value: SecretStr) -> SecretStr:
        for key in value.get_secret_value().split(","):
            try:
                data = base64.b64decode(key.strip(), validate=True)
            except ValueError:
                data = b""
            if len(data) != 32:
                raise ValueError(f"must be {right}; several by comma")
        return value

    return AfterValidator(check)


_SECRET_KEYS = _keys_that_are("32 random bytes in base64, such as `openssl rand -base64 32` prints")
_SRS_KEYS = _keys_that_are(
    "what `posthorn-keys` prints behind POSTHORN_SRS_KEY= for this POSTHORN_SECRET_KEY"
)


def key_list(value: SecretStr) -> list[bytes]:
    """Return the keys that a setting holds, the current one first."""
    return [base64.b64decode(key.strip()) for key in value.get_secret_value().split(",")]


class SrsSettings(EnvSettings):
    """The key that verifies rewritten reverse-paths, for parts that need none of the others."""

    srs_key: Annotated[SecretStr, _SRS_KEYS]
    """Derived from ``POSTHORN_SECRET_KEY``, as ``posthorn-keys`` prints it: verifies rewritten
    reverse-paths. Several by comma, as many as there are secret keys."""


class ReportSettings(EnvSettings):
    """Reports about mail that are sent to others."""

    reports_send: bool = True
    """Send DMARC aggregate and TLS reports daily to domains that ask for them, if the name of the
    sending host is in a domain here that has DKIM keys."""


class SecretSettings(EnvSettings):
    """The master key, for parts that decrypt secrets in Postgres."""

    secret_key: Annotated[SecretStr, _SECRET_KEYS]
    """32 random bytes in base64: encrypts DKIM keys and passwords of routes at rest, and signs
    rewritten reverse-paths. Several by comma: the first one encrypts, all decrypt, so that a key
    can be replaced."""


def server_address(text: str) -> tuple[str, int]:
    """Parse ``address`` or ``address:port``, IPv6 in brackets before a port; return address and
    port. Raises ValueError."""
    parts = re.fullmatch(r"\[([^]]+)](?::([0-9]{1,5}))?|([^:]+)(?::([0-9]{1,5}))?|([^]]+)", text)
    try:
        if parts is None:
            raise ValueError
        address = ipaddress.ip_address(parts[1] or parts[3] or parts[5])
    except ValueError:
        raise ValueError(
            "must be an IP address, with :port behind it where that is not 53"
        ) from None
    port = int(parts[2] or parts[4] or 53)
    if not 0 < port < 65536:
        raise ValueError("the port must be from 1 to 65535")
    return str(address), port
