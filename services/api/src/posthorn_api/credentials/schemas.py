"""The JSON shapes of DKIM keys and app passwords."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, ConfigDict, Field

from posthorn.ports.app_passwords import AppPassword
from posthorn.ports.sign_ins import SignInDay
from posthorn.ports.signing import DkimKey
from posthorn.wire.auth.dkim import record_name, record_strings, record_value
from posthorn_api.credentials.service import OVERLAP_SECONDS, state_of
from posthorn_api.http.schemas import ApiModel, Line, Networks, matching

_YEAR = 366 * 86_400
_SELECTOR = r"^[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?$"

Algorithm = Literal["rsa", "ed25519"]
Scope = Literal["smtp", "imap", "pop3"]


def _both() -> list[Algorithm]:
    return ["rsa", "ed25519"]


def _distinct[T](values: list[T]) -> list[T]:
    if len(set(values)) < len(values):
        raise ValueError("the same value is given twice")
    return values


class DkimRotation(ApiModel):
    """How to replace the keys of a domain."""

    model_config = ConfigDict(extra="forbid", strict=True)

    algorithms: Annotated[list[Algorithm], Field(min_length=1), AfterValidator(_distinct)] = Field(
        default_factory=_both,
        description="A new key is created for each algorithm; keys of other algorithms stay.",
        examples=[["rsa", "ed25519"]],
    )
    selector: Annotated[
        str,
        Field(json_schema_extra={"pattern": _SELECTOR}),
        matching(
            _SELECTOR,
            "must be 1 to 30 lower-case letters, digits and hyphens, without a hyphen at either end",
        ),
    ] = Field("ph", description="Prefix of the new selectors; the date and a random part follow.")
    delay_seconds: Annotated[float, Field(ge=0, le=_YEAR, allow_inf_nan=False)] | None = Field(
        None,
        description="Seconds until the new keys start to sign. Without it, 0 if no key signs yet, otherwise"
        " one day, so that the DNS records can be published before.",
    )
    overlap_seconds: Annotated[float, Field(ge=0, le=_YEAR, allow_inf_nan=False)] = Field(
        OVERLAP_SECONDS,
        description="Seconds for which the records of the old keys must stay published after these stop signing.",
    )


class DkimRecordView(ApiModel):
    """A DNS record to publish."""

    type: Literal["TXT"] = "TXT"
    name: str
    value: str = Field(description="The text as a single string.")
    strings: list[str] = Field(
        description="The same text, split into the strings of at most 255 bytes that DNS allows."
    )


class DkimKeyView(ApiModel):
    """A DKIM key. The private key is never shown."""

    id: UUID
    selector: str
    algorithm: Algorithm
    state: Literal["pending", "signing", "retired"]
    signs_from: datetime
    signs_until: datetime | None
    published_until: datetime | None = Field(
        description="Time until which the DNS record must stay published; null: not yet known."
    )
    created_at: datetime
    dns: DkimRecordView

    @classmethod
    def from_key(cls, key: DkimKey) -> DkimKeyView:
        """Show a key."""
        value = record_value(key.algorithm, key.public_key)
        return cls(
            id=key.id,
            selector=key.selector,
            algorithm=key.algorithm,  # type: ignore[arg-type]
            state=state_of(key, datetime.now(UTC)),  # type: ignore[arg-type]
            signs_from=key.signs_from,
            signs_until=key.signs_until,
            published_until=key.published_until,
            created_at=key.created_at,
            dns=DkimRecordView(
                name=record_name(key.domain, key.selector),
                value=value,
                strings=list(record_strings(value)),
            ),
        )


class DkimView(ApiModel):
    """The DKIM keys of a domain, newest first."""

    domain: str
    keys: list[DkimKeyView]


class AppPasswordCreation(ApiModel):
    """An app password to create."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Line = Field(description="Purpose of the key or password.", examples=["phone"])
    scopes: Annotated[list[Scope], Field(min_length=1), AfterValidator(_distinct)] = Field(
        description="Protocols for which the password is valid.", examples=[["smtp", "imap"]]
    )
    expires_at: Annotated[AwareDatetime, Field(strict=False)] | None = Field(
        None, description="Time of expiry; null: never.", examples=["2036-12-31T00:00:00Z"]
    )
    networks: Networks | None = Field(
        None,
        description="CIDR networks that the password may be used from, besides what the account allows;"
        " null: any.",
        examples=[["192.0.2.0/24"]],
    )


class AppPasswordView(ApiModel):
    """An app password, without the password itself."""

    id: UUID
    name: str
    scopes: list[Scope]
    created_at: datetime
    last_used_at: datetime | None = Field(description="With a precision of one minute.")
    last_used_address: str | None = Field(description="IP address of the client that used it.")
    last_used_protocol: Scope | None = Field(description="What it was used for.")
    expires_at: datetime | None = Field(description="Time of expiry; null: never.")
    networks: list[str] | None = Field(
        description="CIDR networks that it may be used from; null: any."
    )

    @classmethod
    def from_app_password(cls, made: AppPassword) -> AppPasswordView:
        """Show one."""
        return cls(
            id=made.id,
            name=made.name,
            scopes=list(made.scopes),  # type: ignore[arg-type]
            created_at=made.created_at,
            last_used_at=made.last_used_at,
            last_used_address=made.last_used_address,
            last_used_protocol=made.last_used_protocol,  # type: ignore[arg-type]
            expires_at=made.expires_at,
            networks=list(made.networks) or None,
        )


class NewAppPasswordView(AppPasswordView):
    """An app password that was just created."""

    password: str | None = Field(
        description="Shown in this answer only, because it is not stored. Null in an answer repeated for its"
        " Idempotency-Key."
    )

    @classmethod
    def shown(cls, made: AppPassword, password: str | None) -> NewAppPasswordView:
        """Show one with its password."""
        return cls(**AppPasswordView.from_app_password(made).model_dump(), password=password)


class SignInView(ApiModel):
    """Sign-ins on one day (UTC) that have protocol, client, credential and result in common."""

    protocol: Literal["imap", "pop3", "smtp", "api"]
    address: str = Field(description="IP address of the client.")
    app_password: UUID | None = Field(
        description="Id of the app password; null: the account's own password, or a token."
    )
    app_password_name: str | None
    result: str = Field(
        description="accepted, wrong, throttled, suspended, network (not allowed from there) or receive-only."
    )
    attempts: int
    first_at: datetime
    last_at: datetime

    @classmethod
    def of(cls, day: SignInDay) -> SignInView:
        """Show them."""
        return cls(
            protocol=day.protocol,  # type: ignore[arg-type]
            address=day.address,
            app_password=day.app_password,
            app_password_name=day.app_password_name,
            result=day.result,
            attempts=day.attempts,
            first_at=day.first_at,
            last_at=day.last_at,
        )
