"""Tables that are filled from events: webhooks, statistics, and the index of messages."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from posthorn.adapters.postgres.tables.columns import created, metadata, updated

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.id")),  # null: the whole platform
    Column("url", Text, nullable=False),
    Column("secret", LargeBinary, nullable=False),  # encrypted, see runtime.secret_box
    Column("events", ARRAY(Text), nullable=False),
    Column("domain", Text),  # null: of all domains
    Column("state", Text, nullable=False, server_default=text("'active'")),
    created(),
    updated(),
    CheckConstraint("state IN ('active', 'paused', 'failing')", name="state"),
    Index("webhooks_tenant_id_idx", "tenant_id", "id"),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", Uuid, primary_key=True),  # UUIDv7
    Column("webhook_id", Uuid, ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
    Column("event", JSONB, nullable=False),
    Column("event_type", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'waiting'")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("due_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("last_status", Integer),  # of HTTP; null: no answer yet, or none
    Column("last_reply", Text, nullable=False, server_default=text("''")),
    created(),
    Column("closed_at", DateTime(timezone=True)),
    CheckConstraint("state IN ('waiting', 'delivered', 'failed')", name="state"),
    Index("webhook_deliveries_due_idx", "due_at", postgresql_where=text("state = 'waiting'")),
    Index("webhook_deliveries_webhook_id_idx", "webhook_id", "id"),
    Index(
        "webhook_deliveries_waiting_idx",
        "webhook_id",
        "due_at",
        postgresql_where=text("state = 'waiting'"),
    ),
    Index(
        "webhook_deliveries_closed_at_idx",
        "closed_at",
        postgresql_where=text("closed_at IS NOT NULL"),
    ),
    postgresql_with={"fillfactor": 80},
)

statistics = Table(
    "statistics",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("domain", Text, nullable=False),
    Column("hour", DateTime(timezone=True), nullable=False),
    Column("outcome", Text, nullable=False),
    Column("messages", BigInteger, nullable=False, server_default=text("0")),
    Column("octets", BigInteger, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("tenant_id", "domain", "hour", "outcome"),
    Index("statistics_hour_idx", "hour"),
    postgresql_with={"fillfactor": 70},
)

message_index = Table(
    # what ``ports.message_index`` describes; a nil tenant_id: of no tenant
    "message_index",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("message_id", Uuid, nullable=False),
    Column("recipient", Text, nullable=False),  # canonical
    Column("direction", Text, nullable=False),
    Column("reverse_path", Text, nullable=False),
    Column("author", Text, nullable=False),  # canonical
    Column("subject", Text, nullable=False),  # decoded
    Column("header_id", Text, nullable=False),  # the Message-ID field
    Column("size_bytes", BigInteger, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("kind", Text, nullable=False),  # of the event with the outcome
    Column("changed_at", DateTime(timezone=True), nullable=False),  # time of that event
    Column("detail", JSONB, nullable=False),
    Column("targets", ARRAY(Text), nullable=False),  # where an alias sent it on
    Column("terms", ARRAY(Text), nullable=False),  # as model.search_terms has them
    PrimaryKeyConstraint("tenant_id", "message_id", "recipient"),
    Index("message_index_message_id_idx", "message_id"),
    Index("message_index_terms_idx", "terms", postgresql_using="gin"),
    Index(
        "message_index_outcome_idx",
        "outcome",
        "message_id",
        postgresql_where=text("outcome <> 'delivered' AND outcome <> 'relayed'"),
    ),
    Index(
        "message_index_tenant_outcome_idx",
        "tenant_id",
        "outcome",
        "message_id",
        postgresql_where=text("outcome <> 'delivered' AND outcome <> 'relayed'"),
    ),
)
