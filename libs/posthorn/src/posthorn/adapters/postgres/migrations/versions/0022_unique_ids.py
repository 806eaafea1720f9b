"""Messages that moved in keep their unique ids of POP3 (RFC 1939 §7)."""

from __future__ import annotations

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

# It only adds. A pop3 of the release before shows its own unique ids for these messages, so clients
# fetch them again while it runs.
_STATEMENTS: tuple[str, ...] = (
    r"""
    CREATE TABLE unique_ids (
        account_id bigint NOT NULL,
        uid bigint NOT NULL,
        unique_id text NOT NULL,
        CONSTRAINT unique_ids_pkey PRIMARY KEY (account_id, uid),
        CONSTRAINT unique_ids_account_id_unique_id_key UNIQUE (account_id, unique_id),
        CONSTRAINT unique_ids_unique_id_check CHECK (unique_id ~ '^[\x21-\x7e]{1,70}$'),
        CONSTRAINT unique_ids_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts (id) ON DELETE CASCADE
    )
    """,
)


def upgrade() -> None:
    """Add a table; existing rows stay as they are."""
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Migrations go forward only."""
    raise NotImplementedError("migrations go forward only")
