"""The JSON shapes of declarative configuration: what a tenant is to have, and what was done to get there."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from posthorn.runtime.passwords import check_hash
from posthorn_api.http.schemas import DomainChange, Hourly, Line, Networks, Quota, Targets
from posthorn_api.queue.schemas import Tls
from posthorn_api.webhooks.schemas import Events, Url

MOST = 20_000
"""Objects of a kind in one document."""


def _hash(text: str) -> str:
    check_hash(text)
    return text


class _Item(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ConfigDomain(DomainChange):
    """A domain. What is left out stays as it is, or is made as usual."""

    name: Line = Field(examples=["example.test"])


class ConfigAccount(_Item):
    """An account. What is left out stays as it is, or is made as usual."""

    address: Line = Field(examples=["carol@example.test"])
    password_hash: Annotated[Line, AfterValidator(_hash)] | None = Field(
        None,
        description="Its argon2id hash in PHC form. Without it the password stays as it is; a new account can log in when one is"
        " set. Never shown.",
    )
    quota_bytes: Quota | None = Field(None, examples=[1073741824])
    state: Literal["active", "suspended", "receive-only"] = Field(default_factory=lambda: "active")
    max_messages_per_hour: Hourly | None = None
    max_recipients_per_hour: Hourly | None = None
    allowed_networks: Networks | None = None


class ConfigAlias(_Item):
    """An alias."""

    address: Line = Field(examples=["team@example.test"])
    targets: Targets = Field(examples=[["carol@example.test"]])


class ConfigWebhook(_Item):
    """A webhook, known by its URL and its domain. What is left out stays as it is, or is made as usual."""

    url: Url = Field(examples=["https://hooks.example.test/posthorn"])
    domain: Line | None = None
    events: Events = Field(examples=[["bounced"]])
    state: Literal["active", "paused"] = Field(default_factory=lambda: "active")


class ConfigRoute(_Item):
    """A route, as a whole: what is left out is as if it had never been set. Only a password stays, while host and username are the
    same; a new route with a login is made with POST /v1/routes."""

    domain: Line = Field(examples=["example.org"])
    host: Line | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    tls: Tls = "opportunistic"
    username: Annotated[Line, Field(max_length=255)] | None = None
    connections: Annotated[int, Field(ge=1, le=10_000)] | None = None
    messages_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class ConfigDocument(_Item):
    """What a tenant is to have. A list that is left out, or null, is not looked at; an empty list means: none."""

    domains: Annotated[list[ConfigDomain], Field(max_length=MOST)] | None = Field(
        None, examples=[[{"name": "example.test", "catch_all": None}]]
    )
    accounts: Annotated[list[ConfigAccount], Field(max_length=MOST)] | None = Field(
        None, examples=[[{"address": "carol@example.test", "quota_bytes": 1073741824}]]
    )
    aliases: Annotated[list[ConfigAlias], Field(max_length=MOST)] | None = Field(
        None, examples=[[{"address": "team@example.test", "targets": ["carol@example.test"]}]]
    )
    webhooks: Annotated[list[ConfigWebhook], Field(max_length=MOST)] | None = None
    routes: Annotated[list[ConfigRoute], Field(max_length=MOST)] | None = Field(
        None, description="Of the whole platform: for platform admins only."
    )


Kind = Literal["domain", "account", "alias", "webhook", "route"]


class ConfigChange(BaseModel):
    """What is to be done with one object, and what became of that."""

    kind: Kind
    object: str = Field(examples=["carol@example.test"])
    action: Literal["create", "change", "delete"]
    fields: dict[str, Any] = Field(description="What is set. A password hash appears as `changed`.")
    outcome: Literal["planned", "done", "failed"]
    detail: str | None = Field(description="Why it failed.")
    secret: str | None = Field(None, description="Of a webhook that was made; shown in this answer only.")


class ConfigUnlisted(BaseModel):
    """An object that is there and that the document does not name; `prune=true` deletes it."""

    kind: Kind
    object: str


class ConfigOutcome(BaseModel):
    """A plan, or what became of it."""

    tenant: str
    applied: bool = Field(description="False: this is a plan, and nothing was done.")
    changes: list[ConfigChange] = Field(
        description="In the order in which they are done; empty when all is as it should be."
    )
    failed: int = Field(description="How many changes failed. The same request again does what is left.")
    unlisted: list[ConfigUnlisted]
