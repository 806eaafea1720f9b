"""Settings of the delivery service."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from posthorn.runtime.env_settings import Bytes
from posthorn.runtime.queue_settings import QueueSettings
from posthorn.runtime.settings import (
    BlobSettings,
    FramesSettings,
    NatsSettings,
    PostgresSettings,
    ProcessSettings,
    ReplicationSettings,
    ReportSettings,
    SecretSettings,
)
from posthorn.runtime.traces import TraceSettings
from posthorn_delivery.collector_settings import CollectorSettings


class DeliverySettings(
    ProcessSettings,
    NatsSettings,
    FramesSettings,
    PostgresSettings,
    ReplicationSettings,
    BlobSettings,
    CollectorSettings,
    SecretSettings,
    QueueSettings,
    ReportSettings,
    TraceSettings,
):
    """All settings of the delivery service."""

    nats_storage_bytes: Bytes | None = None
    """Capacity of the volume of a NATS server in bytes, for the alert before it is full; unset:
    the account's limit, or the streams' limits plus 1 GiB."""
    delivery_batch_messages: Annotated[int, Field(ge=1, le=5000)] = 512
    """Maximum of messages delivered in one transaction."""
    delivery_batch_bytes: Bytes = 8 * 1024**2
    """Approximate limit of the bytes of bodies in one segment."""
    delivery_compression: Literal["zstd", "none"] = "zstd"
    """Compression of bodies in segments, where it saves a tenth or more."""
    delivery_parallel: Annotated[int, Field(ge=1, le=16)] = 1
    """Batches in flight at a time. With 1, the next batch is what arrived meanwhile."""
    delivery_spacing_seconds: Annotated[float, Field(ge=0, le=1)] = 0.03
    """Minimum from the start of a batch to the start of the next, unless batches are half full
    (ADR 11); twice as long in a dense stream, and longer where processes share it (ADR 52);
    0: no spacing."""
    delivery_scan_wait_seconds: Annotated[float, Field(ge=0)] = 900.0
    """How long a message that was accepted without a verdict waits for the scanning tier; then it
    is delivered unscanned, and its trace says so. 0: it waits until it is scanned."""

    @property
    def limits(self) -> tuple[int, int, int]:
        """Maximum of messages and bytes in a batch, and of batches in flight."""
        return self.delivery_batch_messages, self.delivery_batch_bytes, self.delivery_parallel
