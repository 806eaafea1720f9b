"""Forwards: what aliases send elsewhere is limited, confirmed and held."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# It only adds, so that the release before goes on working on it. Targets of aliases that are there already have no row in
# alias_targets, which stands for confirmed.
_STATEMENTS: tuple[str, ...] = (
    """
    ALTER TABLE outbound_recipients
        ADD COLUMN header text DEFAULT '' NOT NULL,
        ADD COLUMN not_before timestamptz,
        ADD COLUMN suspended_for text,
        ADD COLUMN suspended_at timestamptz
    """,
    """
    CREATE INDEX outbound_recipients_suspended_for_idx ON outbound_recipients (suspended_for, id)
     WHERE suspended_for IS NOT NULL
    """,
    "ALTER TABLE outbound_messages ADD COLUMN client_network text DEFAULT '' NOT NULL",
    "ALTER TABLE aliases ADD COLUMN limited_until timestamptz",
    """
    CREATE TABLE alias_targets (
        id uuid NOT NULL,
        alias_id bigint NOT NULL,
        target text NOT NULL,
        created_at timestamptz DEFAULT now() NOT NULL,
        due_at timestamptz DEFAULT now(),
        confirmed_at timestamptz,
        CONSTRAINT alias_targets_pkey PRIMARY KEY (id),
        CONSTRAINT alias_targets_alias_id_target_key UNIQUE (alias_id, target),
        CONSTRAINT alias_targets_alias_id_fkey FOREIGN KEY (alias_id) REFERENCES aliases (id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX alias_targets_due_at_idx ON alias_targets (due_at) WHERE due_at IS NOT NULL",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
