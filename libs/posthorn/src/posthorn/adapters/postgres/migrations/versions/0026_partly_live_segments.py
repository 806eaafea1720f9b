"""An index of old segments with dead bytes, which are rewritten without them."""

from __future__ import annotations

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index."""
    op.execute(
        "CREATE INDEX segments_partly_live_idx ON segments (created_at, id)"
        " WHERE condemned_at IS NULL AND live_octets < octets"
    )


def downgrade() -> None:
    """Migrations go forward only."""
    raise NotImplementedError("migrations go forward only")
