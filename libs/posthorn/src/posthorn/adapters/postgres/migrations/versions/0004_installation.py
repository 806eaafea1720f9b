"""Installation: the identity of this system and its mark of progress."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_STATEMENTS: tuple[str, ...] = (
    """
    CREATE TABLE installation (
        only_row boolean DEFAULT true PRIMARY KEY CONSTRAINT installation_only_row_check CHECK (only_row),
        id uuid NOT NULL,
        stage text DEFAULT 'new' NOT NULL
            CONSTRAINT installation_stage_check CHECK (stage IN ('new', 'adopting', 'adopted')),
        progress_at timestamptz DEFAULT now() NOT NULL,
        brakes_released_until timestamptz
    )
    """,
    "INSERT INTO installation (id) VALUES (gen_random_uuid())",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
