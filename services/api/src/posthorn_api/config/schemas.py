"""The JSON shapes of declarative configuration: what a tenant is to have, and what was done to
get there."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field

from posthorn.ports.managers import Manager
from posthorn.runtime.passwords import check_hash
from posthorn_api.directory.schemas import DomainChange, ImapCapabilities
from posthorn_api.filtering.schemas import FilterPolicyDocument
from posthorn_api.http.schemas import ApiModel, Hourly, Line, Networks, Quota, Targets
from posthorn_api.queue.schemas import Tls
from posthorn_api.webhooks.schemas import Events, Url

MOST = 20_000
"""Objects of a kind in one document."""
_POLICY = "The whole filter policy, as in `PUT …/filter-policy`; null: silent on every field."


def _hash(text: str) -> str:
    return check_hash(text, allow_weak=True)  # whether weak ones are taken, the service knows


class _Item(ApiModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ConfigDomain(DomainChange):
    """A domain. Fields that are left out keep their values, or get their defaults in a new
    domain."""

    name: Line = Field(examples=["example.test"])
    dkim: bool = Field(
        default_factory=lambda: True,
        description="Whether DKIM keys are made when the domain is created. It has no effect on a domain that exists.",
    )
    filter_policy: FilterPolicyDocument | None = Field(None, description=_POLICY)


class ConfigAccount(_Item):
    """An account. Fields that are left out keep their values, or get their defaults in a new
    account.
    """

    address: Line = Field(examples=["carol@example.test"])
    password_hash: Annotated[Line, AfterValidator(_hash)] | None = Field(
        None,
        description="Hash of the password, as in `POST /v1/accounts`. Without it, the password of an existing"
        " account is kept; a new account cannot log in until a password is set. Never shown.",
    )
    quota_bytes: Quota | None = Field(None, examples=[1073741824])
    state: Literal["active", "suspended", "receive-only"] = Field(default_factory=lambda: "active")
    max_messages_per_hour: Hourly | None = None
    max_recipients_per_hour: Hourly | None = None
    allowed_networks: Networks | None = None
    save_sent: bool = Field(default_factory=bool)
    hidden_imap_capabilities: ImapCapabilities = Field(default_factory=list, examples=[["QRESYNC"]])
    filter_policy: FilterPolicyDocument | None = Field(None, description=_POLICY)


class ConfigAlias(_Item):
    """An alias."""

    address: Line = Field(examples=["team@example.test"])
    targets: Targets = Field(examples=[["carol@example.test"]])


class ConfigWebhook(_Item):
    """A webhook, identified by its URL and its domain. Fields that are left out keep their values,
    or get their defaults in a new webhook.
    """

    url: Url = Field(examples=["https://hooks.example.test/posthorn"])
    domain: Line | None = None
    events: Events = Field(examples=[["bounced"]])
    state: Literal["active", "paused"] = Field(default_factory=lambda: "active")


class ConfigRoute(_Item):
    """A route as a whole: fields that are left out get their default values. Only a password is
    kept, as long as host and username stay the same; create a new route with a login by POST
    /v1/routes.
    """

    domain: Line = Field(examples=["example.org"])
    host: Line | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    tls: Tls = "opportunistic"
    username: Annotated[Line, Field(max_length=255)] | None = None
    connections: Annotated[int, Field(ge=1, le=10_000)] | None = None
    messages_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class ConfigDocument(_Item):
    """The desired state of a tenant. A list that is left out or null is not considered; an empty
    list means that there are to be none.
    """

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
        None, description="Routes of the whole platform: for platform admins only."
    )


Kind = Literal["domain", "account", "alias", "webhook", "route"]


class ConfigChange(ApiModel):
    """A change to one object, and its outcome."""

    kind: Kind
    object: str = Field(examples=["carol@example.test"])
    action: Literal["create", "change", "delete"]
    fields: dict[str, Any] = Field(
        description="The values that are set. A password hash appears as `changed`."
    )
    outcome: Literal["planned", "done", "failed"]
    detail: str | None = Field(description="The reason if the change failed.")
    secret: str | None = Field(
        None, description="The secret of a webhook that was created; shown in this answer only."
    )
    managed_by: str | None = Field(
        None,
        description="Another manager of the object: its next apply undoes this change.",
        examples=["argo-cd"],
    )


class ConfigUnlisted(ApiModel):
    """An object that exists and that the document does not list; `prune=true` deletes it."""

    kind: Kind
    object: str


class ConfigObject(ApiModel):
    """An object of the document, or of the former one."""

    kind: Kind
    object: str = Field(examples=["carol@example.test"])


class ConfigOutcome(ApiModel):
    """A plan, or the outcome of applying it."""

    tenant: str
    applied: bool = Field(description="Whether the changes were made; false for a plan.")
    changes: list[ConfigChange] = Field(
        description="In the order in which they are made; empty if the state already matches."
    )
    failed: int = Field(
        description="Number of changes that failed. Repeat the request to try them again."
    )
    unlisted: list[ConfigUnlisted]
    manager: str | None = Field(None, description="As it was given.", examples=["argo-cd"])
    marked: list[ConfigObject] = Field(
        default_factory=list, description="Objects that the manager did not manage before."
    )
    released: list[ConfigObject] = Field(
        default_factory=list,
        description="Objects that stay, and that the manager manages no longer: its former document named them.",
    )


class ManagedObjectsView(ApiModel):
    """Numbers of managed objects by kind."""

    domains: int
    accounts: int
    aliases: int
    webhooks: int
    routes: int = Field(description="0 for a key of a tenant: it sees no routes.")


class ManagerView(ApiModel):
    """A manager: a tool that applies configurations under its name."""

    name: str = Field(examples=["argo-cd"])
    since: datetime = Field(description="Time of its oldest mark.")
    objects: ManagedObjectsView

    @classmethod
    def of(cls, manager: Manager) -> ManagerView:
        """Show one."""
        counts = manager.objects
        return cls(
            name=manager.name,
            since=manager.since,
            objects=ManagedObjectsView(
                domains=counts["domain"],
                accounts=counts["account"],
                aliases=counts["alias"],
                webhooks=counts["webhook"],
                routes=counts["route"],
            ),
        )


class ManagersView(ApiModel):
    """The managers of a tenant."""

    items: list[ManagerView] = Field(description="By name, at most 100.")
