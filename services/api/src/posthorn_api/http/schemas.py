"""The JSON shapes of requests and answers. Requests are read strictly: unknown fields and other
types are refused by name."""

from __future__ import annotations

import re
import warnings
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.warnings import UnsupportedFieldAttributeWarning

from posthorn.ports.managers import ManagedBy

# FastAPI passes an alias that has no effect. It silences this itself, but not for what is built
# later (ApiModel).
warnings.simplefilter("ignore", UnsupportedFieldAttributeWarning)

_NOT_IN_LINES = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def _printable(value: str) -> str:
    if _NOT_IN_LINES.search(value):
        raise ValueError("control characters, line separators and broken Unicode are not allowed")
    return value


def matching(pattern: str, wanted: str) -> AfterValidator:
    """Return the check that all of a text matches the regular expression; ``wanted`` says what does.
    The field names its ``pattern`` to the schema by itself."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):  # "$" would let a line end follow
            raise ValueError(wanted)
        return value

    return AfterValidator(check)


Line = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_printable)]
"""A line of text."""
Password = Annotated[
    str,
    Field(min_length=8, max_length=256, json_schema_extra={"format": "password"}),
    AfterValidator(_printable),
]
PasswordHash = Annotated[
    Line,
    Field(
        description="Hash of the password in its place: argon2id in PHC form, or of another program"
        " ({SHA512-CRYPT}, {SHA256-CRYPT}, {BLF-CRYPT}, $bcrypt-sha256$, {SSHA…}, PBKDF2 of Django, passlib and"
        " Dovecot), of bounded cost. Those are replaced by argon2id at the first login. Never shown.",
        examples=[
            "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$rQ6cFLc0b8V+hDnDhYTrTmZZWAgIzJY9ihXxUwJkWls"
        ],
    ),
]
Quota = Annotated[int, Field(ge=0, le=2**60, description="Size in bytes; null means unlimited.")]
Targets = Annotated[
    list[Line],
    Field(
        min_length=1,
        max_length=100,
        description="Accounts or aliases of the tenant, or addresses elsewhere.",
    ),
]


Hourly = Annotated[int, Field(ge=0, le=2**31 - 1)]
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
Networks = Annotated[list[Line], Field(min_length=1, max_length=100)]


_MANAGER = r"^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$"
ManagerName = Annotated[
    str,
    Field(max_length=64, json_schema_extra={"pattern": _MANAGER}),
    matching(_MANAGER, "must be letters, digits, dots, hyphens and underscores, such as argo-cd"),
]
"""The name of a manager: it also stands in a header and in a path."""


class ApiModel(BaseModel):
    """A shape of the API. Its validator and serializer are built when it is first used: a process
    uses few of them, and all together took a third of its start."""

    model_config = ConfigDict(defer_build=True)


class RequestBody(ApiModel):
    """A body that is read strictly: unknown fields and other types are refused by name."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ManagedByView(ApiModel):
    """The manager of an object: a tool whose applied configuration names it."""

    manager: str = Field(examples=["argo-cd"])
    since: datetime
    fields: list[str] = Field(
        description="The fields that its configuration sets: its next apply sets them back, and creates the"
        " object again if it was deleted."
    )

    @classmethod
    def of(cls, mark: ManagedBy | None) -> ManagedByView | None:
        """Show a mark."""
        if mark is None:
            return None
        return cls(manager=mark.manager, since=mark.since, fields=list(mark.fields))


Management = Annotated[
    ManagedByView | None,
    Field(description="The tool that manages it by applied configurations; null: none."),
]


class Page[T](ApiModel):
    """A part of a list. Ask again with `cursor` set to `next_cursor` until that is null."""

    items: list[T]
    next_cursor: str | None
    total: Annotated[
        int | None, Field(description="Number of all items that match, if asked for by `total`.")
    ] = None


class ProblemField(ApiModel):
    """What is wrong with one field."""

    field: str
    message: str


class ProblemView(ApiModel):
    """A problem document (RFC 9457)."""

    type: str = Field(examples=["urn:posthorn:problem:invalid"])
    title: str
    status: int = Field(examples=[422])
    detail: str
    errors: list[ProblemField] | None = Field(
        None, description="The fields that failed validation, if any."
    )
