"""Settings of digests."""

from __future__ import annotations

from pydantic import field_validator

from posthorn.runtime.env_settings import EnvSettings, Seconds
from posthorn.runtime.oidc.trust import is_safe
from posthorn_api.digests.service import DigestOptions


class DigestSettings(EnvSettings):
    """When accounts are told what the filter kept from INBOX, and where links lead."""

    api_public_url: str | None = None
    """URL under which account owners reach the API, such as https://mail.example.org: links of
    digests lead there. Unset, digests have no links."""
    digest_interval_seconds: Seconds = 86_400.0
    """From one digest of an account to the next: a message that lists what Junk and quarantine
    took, for accounts whose filter policy asks for it or that are read by POP3."""

    @field_validator("api_public_url", mode="before")
    @classmethod
    def _blank_url_is_unset(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("api_public_url")
    @classmethod
    def _url_is_safe(cls, value: str | None) -> str | None:
        if value is not None and (not is_safe(value) or "?" in value):
            raise ValueError("must be a URL with https, or with http and a loopback address")
        return value

    @property
    def digests(self) -> DigestOptions:
        """How digests are made."""
        return DigestOptions(self.digest_interval_seconds, self.api_public_url)
