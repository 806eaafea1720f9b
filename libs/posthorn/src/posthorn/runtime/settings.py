"""Settings blocks that services put together; the environment is read here and in each service's settings module only.

Every variable begins with ``POSTHORN_``. A bad value stops the process at once with the variable's name, what is wrong and what
would be right; the value itself is never shown, since it may be a secret.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as SourceError

from posthorn.model.networks import Network, parse_network
from posthorn.ports.sending import Limits
from posthorn.wire.address import canonical_domain, parse_address

PREFIX = "POSTHORN_"

Port = Annotated[int, Field(ge=0, le=65535)]
"""A TCP port; 0 takes any free one."""
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Octets = Annotated[int, Field(ge=1)]


class SettingsError(SystemExit):
    """A variable has a value that cannot be used. As SystemExit it ends the process with the message on stderr."""


class EnvSettings(BaseSettings):
    """Base of every settings object: reads ``POSTHORN_<FIELD>`` and refuses with the variable's name."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True, hide_input_in_errors=True)

    @classmethod
    def load(cls) -> Self:
        """Read the environment. Raises SettingsError, which names each bad or missing variable."""
        try:
            return cls()
        except ValidationError as error:
            lines = [
                f"{PREFIX}{'_'.join(str(part) for part in fault['loc'][:1]).upper()}: {fault['msg']}"
                for fault in error.errors(include_url=False, include_input=False)
            ]
            raise SettingsError("refusing to start:\n  " + "\n  ".join(lines)) from None
        except SourceError as error:  # a list or the like that is no JSON
            field = re.search(r'field "(\w+)"', str(error))
            name = f"{PREFIX}{field[1].upper()}" if field else "a variable"
            raise SettingsError(f"refusing to start:\n  {name}: must be JSON") from None


def _server_url(*schemes: str) -> AfterValidator:
    def check(value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError(f"must be a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return value

    return AfterValidator(check)


class ProcessSettings(EnvSettings):
    """What every process has."""

    health_host: str = "0.0.0.0"
    """Address of /healthz, /readyz and /metrics."""
    health_port: Port = 9100
    """Port of these pages."""
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$")] = "info"
    """The least severe kind of log line that is written."""
    grace_seconds: Seconds = 20.0
    """How long open sessions may go on after SIGTERM before they are told 421 and cut."""
    drain_delay_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """How long to go on accepting after SIGTERM, not ready, so that balancers notice."""


class NatsSettings(EnvSettings):
    """Where NATS is and how the streams are kept."""

    nats_url: Annotated[SecretStr, _server_url("nats", "tls")]
    """``nats://[user:password@]host:port[,…]``; several servers by comma."""
    nats_creds_file: Path | None = None
    """A NATS credentials file (JWT and seed), in place of a user and password in the URL."""
    nats_replicas: Annotated[int, Field(ge=1, le=5)] = 1
    """Replicas of every stream and bucket: 3 in a cluster."""
    ingest_max_bytes: Octets = 8 * 1024**3
    """Byte limit of INGEST; beyond it senders are told 452."""
    dead_max_bytes: Octets = 1024**3
    """Byte limit of DEAD, the stream of parked messages; beyond it they wait in the retry lane."""
    events_max_bytes: Octets = 2 * 1024**3
    """Byte limit of EVENTS; beyond it the oldest go."""
    nats_storage_bytes: Octets | None = None
    """What the volume of a NATS server holds, for the alarm before it is full; unset, the account's limit, or the limits of the
    streams and 1 GiB."""
    events_trim: bool = False
    """Whether lower limits of EVENTS take effect though more than a tenth of what it holds goes at once; else they are put off."""
    events_max_age_seconds: Annotated[float, Field(ge=300, allow_inf_nan=False)] = 14 * 86_400.0
    """How long it is remembered what happened to a message."""


class PostgresSettings(EnvSettings):
    """Where Postgres is."""

    database_url: Annotated[SecretStr, _server_url("postgresql", "postgres")]
    """``postgresql://user:password@host:port/database``; libpq's parameters such as ``sslmode`` may follow."""
    database_pool: Annotated[int, Field(ge=1, le=100)] = 4
    """Connections this process may hold."""
    database_timeout_seconds: Seconds = 30.0
    """How long one statement may take."""
    database_prepared: bool = True
    """False behind PgBouncer in transaction mode: no prepared statement outlives a transaction, no session setting is sent."""
    database_replication: Literal["synchronous", "asynchronous"] = "synchronous"
    """synchronous: while commits do not wait for the standbys that are attached, delivery takes nothing, since a failover would
    lose what it acknowledges. asynchronous: that loss, of the last moments before a failover, is accepted (ADR 25)."""
    database_wait_seconds: Seconds = 60.0
    """How long ``posthorn-migrate`` waits for Postgres to come up."""
    installation_beat_seconds: Annotated[float, Field(ge=0.1, le=60)] = 30.0
    """From one comparison of Postgres, blob store and directory bucket to the next (ADR 18), in seconds."""
    installation_tolerance_seconds: Annotated[float, Field(ge=60, le=1800)] = 900.0
    """How many seconds Postgres may be behind the marks in blob store and directory bucket, as after a failover, before nothing is
    served or deleted any more. Far below the age of orphans (``collector_orphan_age``)."""


class RoleSettings(EnvSettings):
    """The parts' roles in Postgres, for ``posthorn-migrate``."""

    database_role_prefix: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,40}$")] = "posthorn_"
    """What the names of the parts' roles begin with: ``posthorn_pop3`` is that of pop3. Roles that exist are granted what their
    part needs, after every migration."""
    database_role_passwords: dict[str, SecretStr] = Field(default_factory=dict)
    """Passwords by part, as a JSON object: the roles of these parts are made, or given the password. The login of the migration
    must then be allowed to make roles."""

    @field_validator("database_role_passwords", mode="before")
    @classmethod
    def _blank_is_none(cls, value: object) -> object:
        return {} if value == "" else value


class BlobSettings(EnvSettings):
    """Where bodies are kept."""

    blobs: Annotated[SecretStr, _server_url("file", "s3")]
    """``file:///directory``, ``s3://[key:secret@]host[:port]/bucket[/prefix][?region=…&tls=yes|no]``, or ``s3://bucket[/prefix]``
    on AWS or at ``s3_endpoint``; see ``posthorn.adapters.blobs.config``."""
    s3_endpoint: str | None = None
    """``[http[s]://]host[:port]`` of the S3 server, for a URL that names a bucket only."""
    s3_region: str | None = None
    """Region, unless the URL names one; without either the store is asked."""
    s3_access_key: str | None = None
    """With ``s3_secret_key``: the login, unless the URL holds one. Without either, AWS's variables, its credentials file, or the
    role of the pod or machine."""
    s3_secret_key: SecretStr | None = None
    """The secret of ``s3_access_key``."""


INLINE_CEILING = 768 * 1024
"""The most that ``smtp_inline_bytes`` may be: with its envelope it must pass through NATS, whose limit is 1 MiB."""


def _address(value: str | None) -> str | None:
    return str(parse_address(value)) if value else None


class IntakeSettings(EnvSettings):
    """What all that take messages share, by SMTP or over HTTP."""

    smtp_hostname: Annotated[str, AfterValidator(canonical_domain)] = "localhost"
    """The name in the greeting and in Received fields: what the MX record names."""
    smtp_postmaster: Annotated[str | None, AfterValidator(_address)] = None
    """Address that takes mail for ``<Postmaster>`` without a domain, and for the postmaster of each domain here that has neither
    such an address nor a catch-all (RFC 5321 §4.5.1). Unset or not there, ``postmaster@`` the host name or the nearest domain
    above it, or else the oldest account of the domain; otherwise that mail is refused."""
    smtp_inline_bytes: Annotated[int, Field(ge=0, le=INLINE_CEILING)] = 512 * 1024
    """Stored size up to which a message rides in the stream; larger ones go to the blob store first."""


class RateSettings(EnvSettings):
    """How much an account may send, by submission and over HTTP together."""

    submission_messages_per_hour: Annotated[int, Field(ge=0)] = 1000
    """Messages of one account, unless the account has a limit of its own; 0 for no limit."""
    submission_recipients_per_hour: Annotated[int, Field(ge=0)] = 5000
    """Recipients of all messages of one account, unless the account has a limit of its own; 0 for no limit."""

    @property
    def account_limits(self) -> Limits:
        """The limits of an account that has none of its own."""
        return Limits(self.submission_messages_per_hour or None, self.submission_recipients_per_hour or None)


def _name_server(text: str) -> str:
    server_address(text)
    return text


class LoginLimitSettings(EnvSettings):
    """How often a wrong password may be tried; one count for submission, POP3 and the API."""

    login_failures_per_address: Annotated[int, Field(ge=1)] = 30
    """Failed logins from one client address (of IPv6, from one /64) in ten minutes at which further ones are refused unseen."""
    login_failures_per_account: Annotated[int, Field(ge=1)] = 10
    """Failed logins to one account in ten minutes at which further ones are refused unseen, but not those from networks where it
    logged in lately."""


class ResolverSettings(EnvSettings):
    """Who is asked for names: by the relay, and by the API when it looks at the DNS of domains."""

    relay_dns_servers: tuple[Annotated[str, AfterValidator(_name_server)], ...] = ()
    """``address`` or ``address:port`` (IPv6 in brackets), as a JSON list; unset, the system's."""
    relay_hostname: Annotated[str, AfterValidator(canonical_domain)] = "localhost"
    """The name in the relay's EHLO; it should resolve to the address mail leaves from, and back."""


class TlsSettings(EnvSettings):
    """The server certificate: a directory holding ``tls.crt`` and ``tls.key``, as Kubernetes mounts them."""

    tls_dir: Path | None = None
    """Without it STARTTLS, STLS and the TLS ports are not offered."""


def _networks(value: object) -> tuple[Network, ...]:
    if isinstance(value, str):
        text = value.strip()
        value = json.loads(text) if text.startswith("[") else [part for part in text.split(",") if part.strip()]
    if not isinstance(value, list | tuple):
        raise ValueError("must be networks such as 10.0.0.0/8, by comma or as a JSON list")
    return tuple(map(_network, value))


def _network(value: object) -> Network:
    try:
        network = parse_network(str(value).strip())
    except ValueError:
        raise ValueError("must be networks such as 10.0.0.0/8, by comma, without bits beyond the prefix") from None
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96 and network.network_address.ipv4_mapped:
        network = ipaddress.IPv4Network((network.network_address.ipv4_mapped, network.prefixlen - 96))
    if not network.prefixlen:
        raise ValueError("a network that holds everybody would let anybody claim any address")
    return network


def _has_networks(value: int | None, info: ValidationInfo) -> int | None:
    if value is not None and info.data.get("proxy_networks") == ():
        raise ValueError("needs POSTHORN_PROXY_NETWORKS, the networks of the balancers that connect to it")
    return value


ProxyPort = Annotated[Port | None, AfterValidator(_has_networks)]
"""A TCP port for balancers that send a PROXY header; None: there is none. Stands in classes after ProxySettings' own fields."""


class ProxySettings(EnvSettings):
    """Balancers that say by the PROXY protocol (v1 or v2) whom a connection is from."""

    proxy_networks: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)] = ()
    """Networks that balancers connect from, by comma or as a JSON list. They alone may use the ports that demand a PROXY header,
    and what they say is believed: list no network that others can connect from."""


def _secret_keys(value: SecretStr) -> SecretStr:
    for key in value.get_secret_value().split(","):
        try:
            octets = base64.b64decode(key.strip(), validate=True)
        except ValueError:
            octets = b""
        if len(octets) != 32:
            raise ValueError(
                "must be 32 random octets in base64, such as `openssl rand -base64 32` gives; several by comma"
            )
    return value


def key_list(value: SecretStr) -> list[bytes]:
    """Return the keys that a setting holds, the current one first."""
    return [base64.b64decode(key.strip()) for key in value.get_secret_value().split(",")]


class SrsSettings(EnvSettings):
    """The key that verifies rewritten reverse-paths, for parts that need none of the others."""

    srs_key: Annotated[SecretStr, AfterValidator(_secret_keys)]
    """Derived from ``POSTHORN_SECRET_KEY``, as ``posthorn-keys`` prints it: recognises rewritten reverse-paths. Several by comma,
    as many as there are secret keys."""


class SecretSettings(EnvSettings):
    """The master key, for parts that open what is kept secret in Postgres."""

    secret_key: Annotated[SecretStr, AfterValidator(_secret_keys)]
    """32 random octets in base64: encrypts DKIM keys and passwords of routes at rest, and signs rewritten reverse-paths.
    Several by comma: the first one encrypts, all decrypt, so that a key can be replaced."""


def server_address(text: str) -> tuple[str, int]:
    """Read ``address`` or ``address:port``, IPv6 in brackets before a port; returns address and port. Raises ValueError."""
    parts = re.fullmatch(r"\[([^]]+)](?::([0-9]{1,5}))?|([^:]+)(?::([0-9]{1,5}))?|([^]]+)", text)
    if parts is None:
        raise ValueError("must be an IP address, with :port behind it where that is not 53")
    port = int(parts[2] or parts[4] or 53)
    if not 0 < port < 65536:
        raise ValueError("the port must be from 1 to 65535")
    return str(ipaddress.ip_address(parts[1] or parts[3] or parts[5])), port


def environment() -> dict[str, str]:
    """A copy of the whole environment, for handing on to child processes."""
    return dict(os.environ)  # noqa: TID251 - this module is the place
