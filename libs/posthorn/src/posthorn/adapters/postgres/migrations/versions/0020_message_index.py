"""The index of messages, by which they are found (ADR 43)."""

from __future__ import annotations

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

# It only adds. The release before fills no index: what it accepts until it is gone is found by the
# id alone.
_STATEMENTS: tuple[str, ...] = (
    """
    CREATE TABLE message_index (
        tenant_id uuid NOT NULL,
        message_id uuid NOT NULL,
        recipient text NOT NULL,
        direction text NOT NULL,
        reverse_path text NOT NULL,
        author text NOT NULL,
        subject text NOT NULL,
        header_id text NOT NULL,
        size_bytes bigint NOT NULL,
        outcome text NOT NULL,
        kind text NOT NULL,
        changed_at timestamptz NOT NULL,
        detail jsonb NOT NULL,
        targets text[] NOT NULL,
        terms text[] NOT NULL,
        CONSTRAINT message_index_pkey PRIMARY KEY (tenant_id, message_id, recipient)
    )
    """,
    # the planner must know rare terms from frequent ones: with the default of 100 it takes every term
    # that is not among the thousand most frequent ones for one of 500 rows in a million
    "ALTER TABLE message_index ALTER COLUMN terms SET STATISTICS 500",
    "CREATE INDEX message_index_message_id_idx ON message_index (message_id)",
    "CREATE INDEX message_index_terms_idx ON message_index USING gin (terms)",
    """
    CREATE INDEX message_index_outcome_idx ON message_index (outcome, message_id)
     WHERE outcome <> 'delivered' AND outcome <> 'relayed'
    """,
    """
    CREATE INDEX message_index_tenant_outcome_idx ON message_index (tenant_id, outcome, message_id)
     WHERE outcome <> 'delivered' AND outcome <> 'relayed'
    """,
)


def upgrade() -> None:
    """Add a table; existing rows stay as they are."""
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Migrations go forward only."""
    raise NotImplementedError("migrations go forward only")
