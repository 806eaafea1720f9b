"""The JSON shapes of the queue, routes, suppressions and traces."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from posthorn.model.events import Event
from posthorn.model.outbound import QueueState
from posthorn.ports.queue import QueueFilter, QueueItem, Route
from posthorn.ports.sending import Suppression
from posthorn.wire.message.header_decoding import decode_text
from posthorn_api.http.schemas import Line

State = Literal["queued", "sending", "deferred", "held", "delivered", "bounced", "cancelled"]
Tls = Literal["none", "opportunistic", "required", "verified", "implicit"]
Age = Annotated[float, Field(ge=0, le=10**10, allow_inf_nan=False)]


class QueueSelection(BaseModel):
    """Which recipients of the queue are meant: those that match every field given."""

    model_config = ConfigDict(extra="forbid", strict=True)

    domain: Line | None = Field(None, description="Domain of the recipient.", examples=["example.org"])
    state: State | None = Field(None, examples=["deferred"])
    sender: Annotated[str, Field(max_length=1000)] | None = Field(
        None, description="Where bounces go; `<>` for notices of ours."
    )
    recipient: Line | None = None
    message: Annotated[UUID, Field(strict=False)] | None = Field(None, description="Id of the message.")
    older_than: Age | None = Field(None, description="Seconds in the queue at least.")
    younger_than: Age | None = Field(None, description="Seconds in the queue at most.")
    tenant: Line | None = Field(
        None,
        description="Name or id of the tenant whose they are: who sends, or whose alias forwards.",
        examples=["acme"],
    )
    all: bool = Field(False, description="Must be true when nothing else is given: everything in the queue is meant.")

    def which(self) -> QueueFilter:
        """Give it to the service."""
        return QueueFilter(
            self.domain,
            None if self.state is None else QueueState(self.state),
            self.sender,
            self.recipient,
            self.message,
            self.older_than,
            self.younger_than,
            self.tenant,
        )


class MatchedView(BaseModel):
    """What an action on many did."""

    matched: int = Field(description="Recipients it was done to.")
    more: bool = Field(description="At most 100,000 are done in a request; true: ask again for the rest.")


class QueueItemView(BaseModel):
    """One recipient of a message on its way out."""

    id: int
    message: UUID = Field(description="Id of the message; its other recipients have the same.")
    state: State
    sender: str = Field(description="Where bounces go; empty for notices of ours.")
    recipient: str
    domain: str
    forwarded_for: str | None = Field(description="The address here that it was sent to, when an alias leads outside.")
    subject: str
    size: int
    attempts: int
    next_attempt_at: datetime | None
    last_attempt_at: datetime | None
    last_host: str | None
    last_status: str | None = Field(description="Enhanced status code (RFC 3463).")
    last_reply: str | None = Field(description="What the host said, or why none was asked.")
    last_tls: str | None
    created_at: datetime
    expires_at: datetime = Field(description="When it is given up.")
    next_hop_closed_until: datetime | None = Field(
        None,
        description="Set while it waits because its next hop failed as a host: until then nothing is sent there. `retry` opens it"
        " for one try at once.",
    )
    next_hop_host: str | None = Field(None, description="The host that failed.")
    next_hop_reply: str | None = Field(None, description="What that host said, or why it could not be asked.")

    @classmethod
    def of(cls, item: QueueItem) -> QueueItemView:
        """Show one."""
        return cls(
            id=item.id,
            message=item.message,
            state=item.state.value,
            sender=item.sender,
            recipient=item.recipient,
            domain=item.destination,
            forwarded_for=item.original or None,
            subject=decode_text(item.subject),
            size=item.size,
            attempts=item.attempts,
            next_attempt_at=item.due_at,
            last_attempt_at=item.last_attempt_at,
            last_host=item.last_host or None,
            last_status=item.last_status or None,
            last_reply=item.last_reply or None,
            last_tls=item.last_tls or None,
            created_at=item.created_at,
            expires_at=item.expires_at,
            next_hop_closed_until=item.lane.until if item.lane else None,
            next_hop_host=(item.lane.host or None) if item.lane else None,
            next_hop_reply=(item.lane.reply or None) if item.lane else None,
        )


class RouteSetting(BaseModel):
    """How the mail of a domain is to travel."""

    model_config = ConfigDict(extra="forbid", strict=True)

    host: Line | None = Field(
        None,
        description="Name or IP address of the server that takes it; null: the domain's MX.",
        examples=["smtp.example.net"],
    )
    port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        None, description="Null: 25, and 465 with implicit TLS.", examples=[587]
    )
    tls: Tls = Field(
        "opportunistic",
        description="none; opportunistic: when offered; required: STARTTLS, the certificate is not looked at; verified: STARTTLS"
        " with a valid certificate; implicit: TLS from the first octet, with a valid certificate.",
        examples=["verified"],
    )
    username: Annotated[Line, Field(max_length=255)] | None = Field(None, examples=["posthorn"])
    password: Annotated[Line, Field(max_length=512, json_schema_extra={"format": "password"})] | None = Field(
        None, description="Never shown again. Goes with username.", examples=["a good password"]
    )
    connections: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        None, description="Connections at a time at most; null: as the settings say."
    )
    messages_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] | None = None

    def route(self, domain: str) -> Route:
        """Give it to the service; the password goes beside it."""
        return Route(
            domain,
            self.host,
            self.port,
            self.tls,
            self.username,
            None,
            self.connections,
            self.messages_per_minute,
        )


class RouteCreation(RouteSetting):
    """A route to be made."""

    domain: Line = Field(description="`*`: every domain without a route of its own.", examples=["example.org"])


class RouteView(BaseModel):
    """A route."""

    domain: str
    host: str | None
    port: int | None
    tls: Tls
    username: str | None
    password_set: bool
    connections: int | None
    messages_per_minute: int | None

    @classmethod
    def of(cls, route: Route) -> RouteView:
        """Show one."""
        return cls(
            domain=route.domain,
            host=route.host,
            port=route.port,
            tls=route.tls,  # type: ignore[arg-type]
            username=route.username,
            password_set=route.password is not None,
            connections=route.connections,
            messages_per_minute=route.messages_per_minute,
        )


class SuppressionCreation(BaseModel):
    """An address that is to get no more mail."""

    model_config = ConfigDict(extra="forbid", strict=True)

    address: Line = Field(examples=["gone@example.org"])
    reason: Annotated[Line, Field(max_length=500)] = Field("by hand", examples=["asked not to be written to"])


class SuppressionView(BaseModel):
    """An address that gets no mail from the tenant."""

    address: str
    reason: str
    source: Literal["bounce", "api"]
    message: UUID | None = Field(description="The message that bounced.")
    created_at: datetime

    @classmethod
    def of(cls, suppression: Suppression) -> SuppressionView:
        """Show one."""
        return cls(
            address=suppression.address,
            reason=suppression.reason,
            source=suppression.source,  # type: ignore[arg-type]
            message=suppression.message,
            created_at=suppression.created_at,
        )


class EventView(BaseModel):
    """Something that happened to a message."""

    at: datetime
    kind: str = Field(
        description="accepted, queued, delivered, deferred, bounced, notice, held, released, cancelled, retried or read.",
        examples=["delivered"],
    )
    detail: dict[str, Any] = Field(description="What else is known, such as recipient, host, reply and tls.")

    @classmethod
    def of(cls, event: Event) -> EventView:
        """Show one."""
        return cls(at=datetime.fromtimestamp(event.at, UTC), kind=event.kind, detail=dict(event.detail))


class TraceView(BaseModel):
    """What happened to a message, in the order of time."""

    items: list[EventView]
    next_cursor: None = None
