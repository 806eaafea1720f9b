"""The JSON shapes of what holders of accounts do for themselves."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field

from posthorn.ports.own_forwards import OwnForward
from posthorn.ports.vacations import LONGEST_SUBJECT, LONGEST_TEXT, Vacation
from posthorn_api.dns.schemas import ClientServerView
from posthorn_api.http.schemas import ApiModel, Line, Password, RequestBody

_Moment = Annotated[AwareDatetime, Field(strict=False)]


class PasswordChange(RequestBody):
    """A new password of the account."""

    current_password: Annotated[
        str, Field(min_length=1, max_length=256, json_schema_extra={"format": "password"})
    ]
    password: Password = Field(description="The new password.")


class ClientSettingsView(ApiModel):
    """What a mail client is set up with."""

    address: str
    username: str = Field(description="What the client logs in with.")
    servers: list[ClientServerView] = Field(
        description="In the order of preference; reading before sending."
    )


class SetUpCode(RequestBody):
    """A code to set up a mail client with."""

    name: Line = Field("phone", description="Name of the app password that is created for it.")
    display_name: Annotated[str, Field(max_length=100)] = Field(
        "", description="Name that the client puts beside the address of messages it sends."
    )
    expires_at: _Moment | None = Field(
        None, description="When the app password expires; null: never."
    )


class SetUpCodeView(ApiModel):
    """The content of a QR code that sets up a mail client."""

    payload: str | None = Field(
        description="The text of the code, at most 800 characters, for error correction level L. It holds"
        " the password: shown in this answer only, null in one repeated for its Idempotency-Key."
    )
    app_password: UUID = Field(description="Id of the app password that was created for it.")


class VacationDocument(RequestBody):
    """The automatic reply of an account (RFC 3834)."""

    enabled: bool
    subject: Annotated[Line, Field(max_length=LONGEST_SUBJECT)] = Field(
        description="Subject of the replies."
    )
    text: Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT)] = Field(
        description="Text of the replies."
    )
    starts_at: _Moment | None = Field(None, description="Null: at once.")
    ends_at: _Moment | None = Field(None, description="Null: until it is disabled.")


class VacationView(ApiModel):
    """The automatic reply of an account."""

    enabled: bool
    subject: str
    text: str
    starts_at: datetime | None
    ends_at: datetime | None

    @classmethod
    def of(cls, vacation: Vacation) -> VacationView:
        """Show it."""
        return cls(
            enabled=vacation.enabled,
            subject=vacation.subject,
            text=vacation.text,
            starts_at=vacation.starts_at,
            ends_at=vacation.ends_at,
        )


class OwnForwardDocument(RequestBody):
    """Where the mail of an account is to be forwarded to."""

    targets: Annotated[list[Line], Field(min_length=1, max_length=20)] = Field(
        description="Addresses elsewhere.", examples=[["carol@elsewhere.test"]]
    )
    keep_copy: bool = Field(True, description="Whether the mail is delivered here too.")


class OwnTargetView(ApiModel):
    """An address that mail is forwarded to."""

    address: str
    state: Literal["active", "unconfirmed", "suppressed", "not-permitted"] = Field(
        description="unconfirmed: it has not confirmed that it wants the mail, and gets none. suppressed: it"
        " bounced, or was suppressed by hand. not-permitted: the domain permits no forwards any more."
    )

    @classmethod
    def of(cls, forward: OwnForward, target: str) -> OwnTargetView:
        """Show one."""
        if not forward.permitted:
            return cls(address=target, state="not-permitted")
        if target in forward.unconfirmed:
            return cls(address=target, state="unconfirmed")
        return cls(address=target, state="suppressed" if target in forward.suppressed else "active")


class OwnForwardView(ApiModel):
    """Where the mail of an account is forwarded to."""

    targets: list[OwnTargetView]
    keep_copy: bool
    permitted: int = Field(description="Addresses that the domain permits; 0: none.")

    @classmethod
    def of(cls, forward: OwnForward) -> OwnForwardView:
        """Show it."""
        return cls(
            targets=[OwnTargetView.of(forward, target) for target in forward.targets],
            keep_copy=forward.keeps_copy,
            permitted=forward.permitted,
        )
