"""Settings of an OpenID Connect issuer and of logins to mailboxes by its tokens."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator
from pydantic_settings import NoDecode

from posthorn.runtime.env_settings import EnvSettings, Pairs
from posthorn.runtime.oidc.trust import MailTrust, is_safe
from posthorn.runtime.setting_lists import listed
from posthorn.wire.address import canonical_domain

Domains = Annotated[
    tuple[Annotated[str, AfterValidator(canonical_domain)], ...], NoDecode, BeforeValidator(listed)
]


class OidcIssuerSettings(EnvSettings):
    """The OpenID Connect issuer whose tokens are taken."""

    NEEDED: ClassVar[Pairs] = (("oidc_audience", "oidc_issuer"),)

    oidc_issuer: str | None = None
    """URL of the issuer as its tokens name it, https (or http of this host); unset, no tokens are
    taken."""
    oidc_audience: Annotated[tuple[str, ...], NoDecode, BeforeValidator(listed)] = ()
    """Audiences that tokens are meant for, one of which must be named in each; by comma or as a
    JSON list."""
    oidc_leeway_seconds: Annotated[float, Field(ge=0, le=300)] = 30.0
    """How far the clocks of the issuer may be off."""
    oidc_refresh_seconds: Annotated[float, Field(ge=10)] = 600.0
    """How often the keys of the issuer are fetched."""

    @field_validator("oidc_issuer", mode="before")
    @classmethod
    def _blank_is_no_issuer(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("oidc_issuer")
    @classmethod
    def _issuer_is_safe(cls, value: str | None) -> str | None:
        if value is not None and (not is_safe(value) or "?" in value):
            raise ValueError(
                "must be a URL with https (or with http and a loopback address), without a query"
            )
        return value

    @model_validator(mode="after")
    def _tokens_are_meant_for_us(self) -> Self:
        if self.oidc_issuer is not None and not self.oidc_audience:
            raise ValueError(
                "POSTHORN_OIDC_AUDIENCE: must be set beside POSTHORN_OIDC_ISSUER, or tokens meant for others would be taken"
            )
        return self


class OidcMailSettings(OidcIssuerSettings):
    """Logins to mailboxes by tokens of the issuer (IMAP, POP3, submission)."""

    NEEDED: ClassVar[Pairs] = (
        ("oidc_mail_domains", "oidc_issuer"),
        ("oidc_mail_scope", "oidc_issuer"),
    )

    oidc_address_claim: Annotated[str, Field(min_length=1)] = "email"
    """The claim with the address of the account, such as ``preferred_username``; ``email`` counts
    only beside ``email_verified``. Users must not be able to choose it at the issuer."""
    oidc_mail_domains: Domains = ()
    """Domains whose accounts the issuer may vouch for, by comma or as a JSON list; unset, all."""
    oidc_mail_scope: str = ""
    """A scope that tokens must have to open mailboxes; unset, their audience is enough."""

    @property
    def mail_trust(self) -> MailTrust | None:
        """What is taken of tokens; None: no mailbox is opened by one."""
        if self.oidc_issuer is None:
            return None
        return MailTrust(
            self.oidc_issuer,
            self.oidc_audience,
            self.oidc_address_claim,
            frozenset(self.oidc_mail_domains),
            self.oidc_mail_scope,
            self.oidc_leeway_seconds,
            self.oidc_refresh_seconds,
        )
