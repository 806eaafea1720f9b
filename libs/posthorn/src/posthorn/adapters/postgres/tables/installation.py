"""Tables of the installation: which one it is, and which process leads a task."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    LargeBinary,
    Table,
    Text,
    Uuid,
    func,
    text,
)

from posthorn.adapters.postgres.tables.columns import metadata

installation = Table(
    "installation",  # one row: which installation this is (ADR 18)
    metadata,
    Column("only_row", Boolean, primary_key=True, server_default=text("true")),
    Column("id", Uuid, nullable=False),
    Column("stage", Text, nullable=False, server_default="new"),
    Column("progress_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("brakes_released_until", DateTime(timezone=True)),
    Column("scram_salt_key", LargeBinary),  # ADR 35
    CheckConstraint("only_row", name="only_row"),
    CheckConstraint("stage IN ('new', 'adopting', 'adopted')", name="stage"),
)

leaderships = Table(
    "leaderships",
    metadata,
    Column("task", Text, primary_key=True),  # collector
    Column("holder", Uuid, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
)
