"""Expansions: wide aliases are expanded in slices."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_STATEMENTS: tuple[str, ...] = (
    # recipient_id is the row of outbound_recipients that stands for the alias: held while it is expanded
    """
    CREATE TABLE outbound_expansions (
        recipient_id bigint NOT NULL CONSTRAINT outbound_expansions_pkey PRIMARY KEY,
        message_id uuid NOT NULL,
        tenant_id uuid NOT NULL,
        envelope bytea NOT NULL,
        done text NOT NULL DEFAULT '',
        accounts integer NOT NULL DEFAULT 0,
        forwards integer NOT NULL DEFAULT 0,
        due_at timestamp with time zone NOT NULL DEFAULT now(),
        created_at timestamp with time zone NOT NULL DEFAULT now()
    ) WITH (fillfactor = 70)
    """,
    "CREATE INDEX outbound_expansions_tenant_id_idx ON outbound_expansions (tenant_id, due_at, recipient_id)",
    "CREATE INDEX outbound_expansions_message_id_idx ON outbound_expansions (message_id)",
    """
    CREATE TABLE outbound_reached (
        message_id uuid NOT NULL,
        place text NOT NULL,
        CONSTRAINT outbound_reached_pkey PRIMARY KEY (message_id, place)
    )
    """,
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
