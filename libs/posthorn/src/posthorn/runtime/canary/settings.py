"""Settings of ``posthorn-canary``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, model_validator

from posthorn.runtime.env_settings import Seconds
from posthorn.runtime.settings import ProcessSettings

Address = Annotated[str, Field(pattern=r"^[^\s@<>]+@[^\s@<>]+$", examples=["canary@example.org"])]

HostPort = Annotated[
    str, Field(pattern=r"^[^\s/@]+:[0-9]{1,5}$", examples=["mail.example.org:995"])
]


class CanarySettings(ProcessSettings):
    """Settings of the canary."""

    canary_address: Address
    """Address of an account that is the canary's alone: everything in its inbox is deleted."""
    canary_password: SecretStr
    """Its password, or an app password for SMTP, POP3 and IMAP."""
    canary_smtp: HostPort | None = None
    """``host:port`` of SMTP, to send as another server does; not set: no message is sent so."""
    canary_submission: HostPort | None = None
    """``host:port`` of submission over TLS; not set: no message is sent so."""
    canary_pop3: HostPort
    """``host:port`` of POP3 over TLS."""
    canary_imap: HostPort | None = None
    """``host:port`` of IMAP over TLS, to read each message by it as well."""
    canary_sender: Address = "canary@posthorn-canary.example"
    """Sender of the messages by SMTP. The account's filter policy should allow the address that the
    canary connects from: what is filed as junk is not read."""
    canary_interval_seconds: Seconds = 60.0
    """Between two rounds of messages."""
    canary_lost_seconds: Seconds = 600.0
    """A message that was accepted so long ago, and not read since, counts as lost."""
    canary_certificate: Path | None = None
    """PEM file whose first certificate the servers must present; not set: theirs are verified for
    the names above."""

    @model_validator(mode="after")
    def _something_is_sent(self) -> Self:
        if self.canary_smtp is None and self.canary_submission is None:
            raise ValueError(
                "POSTHORN_CANARY_SMTP, POSTHORN_CANARY_SUBMISSION: at least one of them must be set"
            )
        return self
