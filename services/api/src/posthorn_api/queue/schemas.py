"""The JSON shapes of the queue, routes, suppressions and traces."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field

from posthorn.model.events import Event
from posthorn.model.outbound import QueueState
from posthorn.ports.queue import Attempts, Route
from posthorn.ports.queue_administration import QueueFilter, QueueGroup, QueueItem
from posthorn.ports.sending import Suppression
from posthorn.wire.message.header_decoding import decode_text
from posthorn.wire.smtp.reply_meanings import meaning_of_attempt
from posthorn_api.http.schemas import ApiModel, Line, ManagedByView, Management

State = Literal["queued", "sending", "deferred", "held", "delivered", "bounced", "cancelled"]
AskedState = Literal[State, "waiting"]
"""``waiting``: each state but those of finished recipients."""
OpenState = Literal["queued", "sending", "deferred", "held"]
Tls = Literal["none", "opportunistic", "required", "verified", "implicit"]
Age = Annotated[float, Field(ge=0, le=10**10, allow_inf_nan=False)]


class QueueSelection(ApiModel):
    """Selects the recipients that match every given field."""

    model_config = ConfigDict(extra="forbid", strict=True)

    domain: Line | None = Field(
        None, description="Domain of the recipient.", examples=["example.org"]
    )
    state: AskedState | None = Field(
        None,
        description="waiting: queued, sending, deferred or held.",
        examples=["deferred"],
    )
    sender: Annotated[str, Field(max_length=1000)] | None = Field(
        None, description="The reverse-path; `<>` for bounces and other notifications."
    )
    recipient: Line | None = None
    message: Annotated[UUID, Field(strict=False)] | None = Field(
        None, description="Id of the message."
    )
    older_than: Age | None = Field(None, description="Minimum age in the queue, in seconds.")
    younger_than: Age | None = Field(None, description="Maximum age in the queue, in seconds.")
    tenant: Line | None = Field(
        None,
        description="Name or id of the tenant that sends the message or whose alias forwards it.",
        examples=["acme"],
    )
    ids: list[Annotated[int, Field(ge=1, le=2**63 - 1)]] | None = Field(
        None,
        min_length=1,
        max_length=1000,
        description="Only these recipients, by their numbers from the list.",
        examples=[[4711, 4712]],
    )
    all: bool = Field(
        False,
        description="Must be true if no other field is given: selects everything in the queue.",
    )

    def which(self) -> QueueFilter:
        """Return it to the service."""
        return QueueFilter(
            self.domain,
            state_of(self.state),
            self.sender,
            self.recipient,
            self.message,
            self.older_than,
            self.younger_than,
            self.tenant,
            None if self.ids is None else tuple(self.ids),
            self.state == "waiting",
        )


def state_of(asked: AskedState | None) -> QueueState | None:
    """Return the one state that is asked for, if it is one."""
    return None if asked in (None, "waiting") else QueueState(asked)


class MatchedView(ApiModel):
    """The result of an action on many recipients."""

    matched: int = Field(description="Number of recipients that were changed.")
    more: bool = Field(
        description="Whether more recipients match: one request changes at most 100,000. Repeat the request"
        " for the rest."
    )
    passed_over: int = Field(
        description="Number of recipients that were meant and not changed: they are in a state that does not"
        " permit it, due already, or, of `ids`, not there."
    )
    left: int = Field(description="Number of recipients that are left for another request.")


class QueueItemView(ApiModel):
    """A recipient of an outgoing message."""

    id: int
    message: UUID = Field(description="Id of the message; its other recipients have the same.")
    state: State
    sender: str = Field(
        description="The reverse-path, to which bounces are sent; empty for our own notifications."
    )
    recipient: str
    domain: str
    forwarded_for: str | None = Field(
        description="The local address to which the message was sent, if an alias forwards it."
    )
    subject: str
    size: int
    attempts: int
    next_attempt_at: datetime | None
    last_attempt_at: datetime | None
    last_host: str | None
    last_status: str | None = Field(description="Enhanced status code (RFC 3463).")
    last_reply: str | None = Field(
        description="The reply of the host, or the reason why no host was contacted."
    )
    last_tls: str | None
    created_at: datetime
    expires_at: datetime = Field(description="Time at which delivery is given up.")
    next_hop_closed_until: datetime | None = Field(
        None,
        description="Set while the recipient waits because its next hop failed as a host: nothing is sent"
        " there until then. `retry` permits one attempt at once.",
    )
    next_hop_host: str | None = Field(None, description="The host that failed.")
    next_hop_reply: str | None = Field(
        None, description="The reply of that host, or the reason why it could not be contacted."
    )

    @classmethod
    def from_item(cls, item: QueueItem) -> QueueItemView:
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
            next_hop_closed_until=item.next_hop.until if item.next_hop else None,
            next_hop_host=(item.next_hop.host or None) if item.next_hop else None,
            next_hop_reply=(item.next_hop.reply or None) if item.next_hop else None,
        )


class QueueGroupView(ApiModel):
    """Recipients that wait for one destination, in one state, after replies of one class."""

    domain: str
    state: OpenState
    reply_class: str | None = Field(
        description="Class and subject of the last enhanced status code (RFC 3463), such as 4.7; null if"
        " none was tried yet, or the reply had no such code."
    )
    recipients: int
    oldest_at: datetime = Field(description="Time since which the oldest waits.")
    next_attempt_at: datetime | None
    sample: int = Field(description="Number of the newest of them.")
    sample_host: str | None
    sample_reply: str | None = Field(description="The last reply to that one.")
    next_hop_closed_until: datetime | None = Field(
        description="Set while the next hop is closed because it failed as a host."
    )
    next_hop_reply: str | None = Field(
        description="The reply of that host, or the reason why it could not be contacted."
    )

    @classmethod
    def from_group(cls, group: QueueGroup) -> QueueGroupView:
        """Show one."""
        hop = group.next_hop
        return cls(
            domain=group.destination,
            state=group.state.value,  # type: ignore[arg-type]
            reply_class=group.reply_class or None,
            recipients=group.recipients,
            oldest_at=group.oldest_at,
            next_attempt_at=group.next_attempt_at,
            sample=group.sample,
            sample_host=group.sample_host or None,
            sample_reply=group.sample_reply or None,
            next_hop_closed_until=hop.until if hop else None,
            next_hop_reply=(hop.reply or None) if hop else None,
        )


class RouteSetting(ApiModel):
    """How mail for a domain is routed."""

    model_config = ConfigDict(extra="forbid", strict=True)

    host: Line | None = Field(
        None,
        description="Name or IP address of the next hop; null: the MX hosts of the domain.",
        examples=["smtp.example.net"],
    )
    port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        None,
        description="Port of the next hop; null: 25, or 465 with implicit TLS.",
        examples=[587],
    )
    tls: Tls = Field(
        "opportunistic",
        description="none; opportunistic: if the host offers it; required: STARTTLS, without verifying the"
        " certificate; verified: STARTTLS with a valid certificate; implicit: TLS from the start"
        " of the connection, with a valid certificate.",
        examples=["verified"],
    )
    username: Annotated[Line, Field(max_length=255)] | None = Field(None, examples=["posthorn"])
    password: (
        Annotated[Line, Field(max_length=512, json_schema_extra={"format": "password"})] | None
    ) = Field(
        None, description="Needs a username. Never shown again.", examples=["a good password"]
    )
    connections: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        None, description="Maximum number of concurrent connections; null: the configured limit."
    )
    messages_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] | None = None

    def route(self, domain: str) -> Route:
        """Return it to the service; the password goes beside it."""
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
    """A route to create."""

    domain: Line = Field(
        description="Name of the domain; `*`: every domain without a route of its own.",
        examples=["example.org"],
    )


class AttemptsView(ApiModel):
    """Numbers of attempts, one for each recipient, by the result."""

    delivered: int
    deferred: int
    refused: int = Field(description="Failed permanently, or for the last time.")

    @classmethod
    def of(cls, attempts: Attempts) -> AttemptsView:
        """Return the view."""
        return cls(
            delivered=attempts.delivered, deferred=attempts.deferred, refused=attempts.refused
        )


class RouteView(ApiModel):
    """A route."""

    domain: str
    host: str | None
    port: int | None
    tls: Tls
    username: str | None
    password_set: bool
    connections: int | None
    messages_per_minute: int | None
    last_hour: AttemptsView | None = Field(
        None,
        description="Attempts of the last hour by this route, in steps of five minutes. They are counted some"
        " seconds late.",
    )
    managed_by: Management

    @classmethod
    def from_route(cls, route: Route) -> RouteView:
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
            last_hour=AttemptsView.of(route.last_hour),
            managed_by=ManagedByView.of(route.managed_by),
        )


class SuppressionCreation(ApiModel):
    """An address to suppress."""

    model_config = ConfigDict(extra="forbid", strict=True)

    address: Line = Field(examples=["gone@example.org"])
    reason: Annotated[Line, Field(max_length=500)] = Field(
        "by hand", examples=["asked not to be written to"]
    )


class SuppressionView(ApiModel):
    """An address that gets no mail from the tenant."""

    address: str
    reason: str
    source: Literal["bounce", "api", "complaint"]
    message: UUID | None = Field(
        description="Id of the message that bounced, or was complained of."
    )
    created_at: datetime

    @classmethod
    def from_suppression(cls, suppression: Suppression) -> SuppressionView:
        """Show one."""
        return cls(
            address=suppression.address,
            reason=suppression.reason,
            source=suppression.source,  # type: ignore[arg-type]
            message=suppression.message,
            created_at=suppression.created_at,
        )


class EventView(ApiModel):
    """An event in the life of a message."""

    at: datetime
    kind: str = Field(
        description="accepted, scanned, refused, filed, quarantined, restored, classified, queued, delivered, deferred,"
        " bounced, notice, held, released, cancelled, retried, read or complained.",
        examples=["delivered"],
    )
    detail: dict[str, Any] = Field(
        description="Further facts, such as recipient, host, reply and tls."
    )
    meaning: str | None = Field(
        None, description="What the reply of a host means; null without one that has a code."
    )

    @classmethod
    def from_event(cls, event: Event) -> EventView:
        """Show one."""
        reply = event.detail.get("reply")
        return cls(
            at=datetime.fromtimestamp(event.at, UTC),
            kind=event.kind,
            detail=dict(event.detail),
            meaning=(meaning_of_attempt(reply) or None) if isinstance(reply, str) else None,
        )


class TraceView(ApiModel):
    """The events of a message in chronological order."""

    items: list[EventView]
    next_cursor: None = None
    trace_url: str | None = Field(
        None,
        description="Where a viewer shows the spans of the message; null: it is not traced, or the key is one of a tenant.",
    )
