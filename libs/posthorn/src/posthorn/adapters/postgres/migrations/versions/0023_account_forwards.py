"""Account holders forward their own mail, where their domain lets them."""

from __future__ import annotations

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

# It only adds. Delivery of the release before does not forward the mail of accounts: it keeps it.
_STATEMENTS = (
    "ALTER TABLE domains ADD COLUMN account_forwards smallint NOT NULL DEFAULT 0",
    "ALTER TABLE aliases ADD COLUMN keeps_copy boolean",
)


def upgrade() -> None:
    """Add columns; existing rows stay as they are."""
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Migrations go forward only."""
    raise NotImplementedError("migrations go forward only")
