"""Fair shares: the outbox has lanes and names tenants, and webhooks are claimed each by itself."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# Rows of the release before are in the interactive lane, and count as those of one tenant more.
_STATEMENTS: tuple[str, ...] = (
    """
    ALTER TABLE directory_outbox
        ADD COLUMN lane smallint DEFAULT 0 NOT NULL,
        ADD COLUMN tenant_id uuid DEFAULT '00000000-0000-0000-0000-000000000000' NOT NULL
    """,
    "CREATE INDEX directory_outbox_lane_tenant_id_id_idx ON directory_outbox (lane, tenant_id, id)",
    "CREATE INDEX webhook_deliveries_waiting_idx ON webhook_deliveries (webhook_id, due_at) WHERE state = 'waiting'",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
