"""Settings of the API, read from the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator, model_validator

from posthorn.runtime.settings import (
    BlobSettings,
    IntakeSettings,
    NatsSettings,
    Octets,
    Port,
    PostgresSettings,
    ProcessSettings,
    RateSettings,
    Seconds,
    SecretSettings,
)
from posthorn_api.sending_service import SendingLimits

Count = Annotated[int, Field(ge=1)]

SHORTEST_KEY = 32
"""Characters that the admin key must have at least."""


class ApiSettings(
    ProcessSettings, PostgresSettings, NatsSettings, BlobSettings, SecretSettings, IntakeSettings, RateSettings
):
    """Where the API listens, its first key, and its limits."""

    api_host: str = "0.0.0.0"
    api_port: Port = 8080
    api_admin_key: SecretStr | None = None
    """The key of the first platform admin, at least 32 visible characters: ``ph_`` and 43 random ones is the usual form. Each start
    puts it in the place of the one before. Without it, and without a file, the keys in the database stay as they are."""
    api_admin_key_file: Path | None = None
    """A file that holds that key instead; read at start."""
    api_body_limit: Octets = 1024 * 1024
    """Octets of a request's body; more is answered 413."""
    import_body_limit: Octets = 1024 * 1024 * 1024
    """Octets of a bulk import, which is read line by line."""
    directory_reconcile_seconds: Seconds = 600.0
    """How often the directory is compared with the database and put right."""
    directory_wait_seconds: Annotated[float, Field(ge=0)] = 10.0
    """How long an answer waits at most until the directory shows the change."""
    send_body_limit: Octets = 40 * 1024 * 1024
    """Octets of a request that sends a message; base64 takes a third of them."""
    send_large_at_once: Count = 2
    """Such requests of more than a mebibyte that are at hand at a time; each takes several times its size of memory."""
    send_max_size: Octets = 40 * 1024 * 1024
    """Octets of a message that is sent."""
    send_max_recipients: Count = 100
    """Recipients of a message that is sent."""
    send_messages_per_hour: Count = 10_000
    """Messages that may be sent with one key."""

    @field_validator("api_admin_key", "api_admin_key_file", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("api_admin_key")
    @classmethod
    def _key_is_strong(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _check(value.get_secret_value())
        return value

    @field_validator("api_admin_key_file")
    @classmethod
    def _file_holds_a_key(cls, value: Path | None) -> Path | None:
        if value is not None:
            _check(_read(value))
        return value

    @model_validator(mode="after")
    def _one_of_them(self) -> ApiSettings:
        if self.api_admin_key is not None and self.api_admin_key_file is not None:
            raise ValueError("API_ADMIN_KEY and API_ADMIN_KEY_FILE must not both be set")
        return self

    @property
    def sending_limits(self) -> SendingLimits:
        """What bounds a message that is sent."""
        return SendingLimits(
            self.smtp_hostname,
            self.send_max_size,
            self.send_max_recipients,
            self.send_messages_per_hour,
            self.smtp_inline_bytes,
            self.account_limits,
        )

    @property
    def admin_key(self) -> str | None:
        """The key, from wherever it comes."""
        if self.api_admin_key_file is not None:
            return _read(self.api_admin_key_file)
        return None if self.api_admin_key is None else self.api_admin_key.get_secret_value()


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the file cannot be read: {type(error).__name__}") from None


def _check(key: str) -> None:
    if len(key) < SHORTEST_KEY:
        raise ValueError(f"the key must have at least {SHORTEST_KEY} characters")
    if not all("!" <= character <= "~" for character in key):
        raise ValueError("the key must be of visible ASCII characters, without spaces")
