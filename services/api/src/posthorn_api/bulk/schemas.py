"""The JSON shapes of lines of an import, and of the answers to them."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from posthorn_api.http.schemas import (
    ApiModel,
    Line,
    Password,
    PasswordHash,
    ProblemField,
    Quota,
    Targets,
)


class _Line(ApiModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class AccountLine(_Line):
    """An account to create."""

    address: Line = Field(examples=["carol@example.test"])
    password: Password | None = Field(None, examples=["correct horse battery"])
    password_hash: PasswordHash | None = None
    quota_bytes: Quota | None = None
    state: Literal["active", "suspended", "receive-only"] = "active"


class AliasLine(_Line):
    """An alias to create."""

    address: Line = Field(examples=["team@example.test"])
    targets: Targets = Field(examples=[["alice@example.test"]])


class ImportAnswer(ApiModel):
    """The result of one line. The last line of the answer has `done`, `lines` and a count of each
    status instead; if `done` is false, the import ended early and must be repeated as a whole.
    """

    line: int = Field(examples=[1])
    address: str | None = Field(examples=["carol@example.test"])
    status: Literal["created", "unchanged", "failed"]
    errors: list[ProblemField] | None = None
    managed_by: str | None = Field(
        None,
        description="Name of the tool that manages the account or alias, which exists already: change it"
        " in that tool's configuration.",
    )
