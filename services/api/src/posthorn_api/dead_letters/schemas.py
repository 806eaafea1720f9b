"""Views of dead letters."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from posthorn.ports.ingest import Parked
from posthorn_api.http.schemas import ApiModel


class DeadLetterView(ApiModel):
    """A message that was accepted and could not be delivered."""

    sequence: int
    message_id: str
    reason: str
    parked_at: datetime
    size: int

    @classmethod
    def from_parked(cls, parked: Parked) -> DeadLetterView:
        """Show a dead letter."""
        return cls(
            sequence=parked.sequence,
            message_id=parked.message_id,
            reason=parked.reason,
            parked_at=parked.parked_at,
            size=parked.octets,
        )


class Retried(ApiModel):
    """A parked message that is queued again."""

    sequence: int
    state: Literal["queued"] = "queued"
