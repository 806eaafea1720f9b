"""Settings of local mode, read from the environment like every service's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator

from posthorn.runtime.env_settings import PREFIX, EnvSettings, Port, environment

HEALTH_SERVICES = ("smtp-in", "delivery", "pop3", "api", "submission", "relay", "scan", "imap")
"""The services in the order of their health ports."""
GRACE_SECONDS = 5
"""Grace period of open sessions, in seconds, so that everything stops within ten seconds."""


class LocalSettings(EnvSettings):
    """Where the state lies and which ports of 127.0.0.1 are taken; a port of 0 takes any free
    one."""

    home: Path = Path(".posthorn")
    """The state of the whole system: mail, database, keys, logs. Made when missing."""
    smtp_port: Port = 2525
    """SMTP as between servers."""
    submission_port: Port = 2587
    """Submission with STARTTLS."""
    submissions_port: Port = 2465
    """Submission with TLS from the start."""
    imap_port: Port = 2143
    """IMAP with STARTTLS."""
    imaps_port: Port = 2993
    """IMAP with TLS from the start."""
    pop3_port: Port = 2110
    """POP3 with STLS."""
    pop3s_port: Port = 2995
    """POP3 with TLS from the start."""
    api_port: Port = 8080
    """REST API."""
    health_port: Annotated[int, Field(ge=0, le=65535 - len(HEALTH_SERVICES))] = 9101
    """The first of eight: /healthz, /readyz and /metrics of smtp-in, delivery, pop3, api,
    submission, relay, scan and imap."""
    relay_direct: bool = False
    """Whether mail for other domains without a route is sent to their MX, on the internet;
    otherwise it waits in the queue."""
    blobs: SecretStr | None = None
    """``s3://key:secret@host:port/bucket[?tls=no&region=…]`` keeps bodies there; unset, they lie
    in a directory of the home."""

    @field_validator("home", mode="before")
    @classmethod
    def _home_is_named(cls, value: object) -> object:
        if not str(value).strip():
            raise ValueError("must name a directory")
        return value

    @field_validator("home")
    @classmethod
    def _home_is_absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("blobs")
    @classmethod
    def _blobs_are_a_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        if not value.get_secret_value().startswith(("s3://", "file://")):
            raise ValueError("must be a URL that begins with s3:// or file://")
        return value


def variable(field: str) -> str:
    """Return the name of a field's environment variable."""
    return PREFIX + field.upper()


def child_environment(**values: str) -> dict[str, str]:
    """Return the environment for a child process: this one's, with settings overridden by field
    name."""
    return environment() | {variable(field): value for field, value in values.items()}
