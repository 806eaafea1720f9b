"""The JSON shapes of the search for messages."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from posthorn.ports.message_index import IndexedMessage
from posthorn_api.http.schemas import ApiModel

Direction = Literal["inbound", "outbound"]
Outcome = Literal[
    "accepted",
    "queued",
    "deferred",
    "held",
    "delivered",
    "relayed",
    "junk",
    "quarantined",
    "refused",
    "bounced",
    "expired",
    "cancelled",
]


class FoundMessageView(ApiModel):
    """A message and what happened to it for one recipient."""

    message: UUID = Field(description="Id of the message; its trace shows the rest.")
    at: datetime = Field(description="Time of the event that brought the outcome.")
    kind: str = Field(description="Kind of that event, as in the trace.")
    detail: dict[str, Any] = Field(
        description="Recipient, author and reverse_path; and what the event tells, such as reason, rule, score,"
        " client, host and reply."
    )
    received_at: datetime = Field(description="Time at which the message came.")
    outcome: Outcome = Field(
        description="accepted: kept, not yet delivered. queued: for another host. delivered: to a mailbox here."
        " relayed: accepted by another host. expired: given up after the last attempt failed"
        " temporarily."
    )
    direction: Literal["inbound", "outbound", "internal"] = Field(
        description="As its tenant sees it; internal: from and to the same tenant."
    )
    tenant: str | None = Field(description="Name of the tenant; null if it concerns none.")
    sender: str = Field(description="The reverse-path; empty for bounces and other notifications.")
    author: str = Field(description="Address in the From field, if it is known.")
    recipient: str = Field(description="Empty if it was refused before a recipient was named.")
    targets: list[str] = Field(description="Addresses to which an alias sent it on.")
    subject: str
    message_id: str = Field(description="The Message-ID field.")
    size_bytes: int

    @classmethod
    def from_entry(cls, entry: IndexedMessage) -> FoundMessageView:
        """Show one."""
        head = entry.head
        about: dict[str, Any] = {
            "recipient": entry.recipient,
            "recipients": [entry.recipient] if entry.recipient else [],
            "author": head.author,
            "reverse_path": head.reverse_path,
        }
        return cls(
            message=entry.message,
            at=datetime.fromtimestamp(entry.at, UTC),
            kind=entry.kind,
            detail={**about, **entry.detail},
            received_at=datetime.fromtimestamp((entry.message.int >> 80) / 1000, UTC),
            outcome=entry.outcome,  # type: ignore[arg-type]
            direction=entry.direction,  # type: ignore[arg-type]
            tenant=entry.tenant_name or None,
            sender=head.reverse_path,
            author=head.author,
            recipient=entry.recipient,
            targets=list(entry.targets),
            subject=head.subject,
            message_id=head.message_id,
            size_bytes=head.size_bytes,
        )
