"""Settings of the delivery service."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from posthorn.runtime.settings import (
    BlobSettings,
    NatsSettings,
    Octets,
    PostgresSettings,
    ProcessSettings,
    Seconds,
    SecretSettings,
)
from posthorn_delivery.collector_settings import CollectorSettings
from posthorn_delivery.forward_settings import ForwardSettings


class DeliverySettings(
    ProcessSettings,
    NatsSettings,
    PostgresSettings,
    BlobSettings,
    CollectorSettings,
    SecretSettings,
    ForwardSettings,
):
    """Everything the delivery service can be told."""

    delivery_batch_messages: Annotated[int, Field(ge=1, le=5000)] = 512
    """Most messages placed in one transaction."""
    delivery_batch_octets: Octets = 8 * 1024**2
    """About as many octets of bodies go into one segment."""
    delivery_compression: Literal["zstd", "none"] = "zstd"
    """How bodies are stored in segments, where that saves a tenth or more."""
    delivery_parallel: Annotated[int, Field(ge=1, le=16)] = 1
    """Batches in flight at a time. With one, the next batch is what came in meanwhile."""
    delivery_spacing_seconds: Annotated[float, Field(ge=0, le=1)] = 0.03
    """From the start of a batch to the start of the next at least, unless batches are half full (ADR 11); twice as
    long in a dense stream; 0: no spacing."""
    relay_give_up_seconds: Seconds = 432_000.0
    """How long recipients elsewhere are tried, counted from here on; the relay reads the same variable."""
    relay_delay_notice_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 14_400.0
    """After how long in the queue the sender is told that a message is late; 0: never."""

    @property
    def limits(self) -> tuple[int, int, int]:
        """Of a batch the messages and octets, and the batches in flight."""
        return self.delivery_batch_messages, self.delivery_batch_octets, self.delivery_parallel
