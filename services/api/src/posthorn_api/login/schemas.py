"""The JSON shapes of sign-ins."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, model_validator

from posthorn_api.http.schemas import ApiModel, Line, RequestBody

_Secret = Annotated[
    str, Field(min_length=1, max_length=256, json_schema_extra={"format": "password"})
]


class LoginRequest(RequestBody):
    """What to sign in with: a key, an account and its password, or a link."""

    key: _Secret | None = Field(None, description="An API key.")
    account: Line | None = Field(None, description="Address of an account.")
    password: _Secret | None = Field(None, description="The account's own password.")
    link: _Secret | None = Field(
        None, description="The token of a one-time link; it is used up by this request."
    )

    @model_validator(mode="after")
    def _one_way(self) -> LoginRequest:
        ways = (self.key is not None, self.account is not None, self.link is not None)
        if sum(ways) != 1 or (self.account is None) != (self.password is None):
            raise ValueError("give a key, or an account and its password, or a link")
        return self


class OidcMethodView(ApiModel):
    """Sign-in at the OpenID Connect issuer."""

    name: str = Field(description="Name of the issuer, for a button.")


class LoginMethodsView(ApiModel):
    """The ways to sign in."""

    key: bool = Field(description="By an API key.")
    account: bool = Field(description="By the address and password of an account.")
    oidc: OidcMethodView | None = Field(
        description="At an OpenID Connect issuer, by `/v1/login/oidc`; null: there is none."
    )


class SessionsEnd(RequestBody):
    """Whose sessions are to end."""

    subject: Line = Field(
        description="The subject at the OpenID Connect issuer, the claim `sub` of its tokens: the name of the"
        " caller in the audit log, without `oidc:`."
    )


class SessionsEndedView(ApiModel):
    """How many sessions ended."""

    ended: int


class LoginLinkView(ApiModel):
    """A one-time link to sign in by."""

    link: str = Field(description="The token, for `POST /v1/login`. Shown in this answer only.")
    path: str = Field(description="Path and fragment of the console that signs in by it.")
    expires_at: datetime


class MeTenantView(ApiModel):
    """The caller's tenant."""

    id: UUID
    name: str | None


class MeAccountView(ApiModel):
    """The account that calls."""

    id: int
    address: str


class MeView(ApiModel):
    """Who the caller is and what it may do."""

    kind: Literal["key", "token", "account"]
    name: str = Field(description="Name of the key, subject of the token, or address.")
    role: str
    tenant: MeTenantView | None = Field(description="Null: the whole platform.")
    account: MeAccountView | None
    expires_at: datetime | None = Field(
        description="When the session or the key expires; null: never."
    )
    operations: list[str] = Field(description="Ids of the operations that the caller may use.")
    version: str = Field(description="Version of the API.")
