"""The JSON shapes of the quarantine."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from posthorn.ports.quarantine import QuarantinedCopy
from posthorn.wire.message.header_decoding import decode_addresses, decode_text
from posthorn_api.http.schemas import ApiModel, RequestBody
from posthorn_api.http.verdicts import VerdictView

MOST_AT_ONCE = 100
"""Copies that one request releases."""

Classify = Literal["ham"]
_CLASSIFY = "`ham`: the message is no spam; the filter of the account and its tenant learns it."


class QuarantinedView(ApiModel):
    """A copy of a message in quarantine."""

    id: UUID
    message: UUID = Field(description="Id of the message; its other copies have the same.")
    account: str | None = Field(
        description="The account; null for a copy that an alias would have sent on."
    )
    recipient: str = Field(
        description="The address that the sender named; of a copy of an alias, the alias."
    )
    reason: str = Field(description="virus, dmarc, score or blocked.")
    detail: str = Field(description="The rule or list entry that decided.")
    score: float = Field(description="Points, those of the account's own training included.")
    size: int = Field(description="Size in bytes.")
    received_at: datetime
    created_at: datetime = Field(description="Time at which it was withheld.")
    expires_at: datetime = Field(description="Time at which it is removed permanently.")
    reverse_path: str
    from_: str = Field(serialization_alias="from", description="The From field, decoded.")
    subject: str = Field(description="The Subject field, decoded.")
    date: str = Field(description="The Date field, as the sender wrote it.")
    message_id: str
    verdict: VerdictView | None = Field(description="Null if the message was not scanned.")

    @classmethod
    def of(cls, copy: QuarantinedCopy) -> QuarantinedView:
        """Show one."""
        return cls(
            id=copy.id,
            message=copy.message,
            account=copy.account,
            recipient=copy.recipient,
            reason=copy.reason,
            detail=copy.detail,
            score=copy.score,
            size=copy.size,
            received_at=copy.received_at,
            created_at=copy.created_at,
            expires_at=copy.expires_at,
            reverse_path=copy.reverse_path,
            from_=decode_addresses(copy.from_),
            subject=decode_text(copy.subject),
            date=copy.date,
            message_id=copy.message_id,
            verdict=VerdictView.of(copy.verdict),
        )


class QuarantineRelease(RequestBody):
    """How to release a copy."""

    classify: Classify | None = Field(None, description=_CLASSIFY)


class QuarantineSelection(RequestBody):
    """Copies to release: those with the ids, or all of a message."""

    ids: (
        Annotated[
            list[Annotated[UUID, Field(strict=False)]], Field(min_length=1, max_length=MOST_AT_ONCE)
        ]
        | None
    ) = Field(None, description="Ids of copies.")
    message: Annotated[UUID, Field(strict=False)] | None = Field(
        None, description="Id of a message: every copy of it that is in quarantine."
    )
    classify: Classify | None = Field(None, description=_CLASSIFY)


class ReleasedView(ApiModel):
    """The result for a copy."""

    id: UUID
    recipient: str | None = Field(description="Null if it is not in quarantine.")
    released: bool
    detail: str | None = Field(description="Why it was not released.")


class ReleasesView(ApiModel):
    """The results for several copies."""

    items: list[ReleasedView]
    more: bool = Field(
        description="Whether more copies of the message are left: one request releases at most"
        f" {MOST_AT_ONCE}."
    )
