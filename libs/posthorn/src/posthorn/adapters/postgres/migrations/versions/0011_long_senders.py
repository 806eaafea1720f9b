"""Long senders: whom rewritten reverse-paths stand for that cannot hold them."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# It only adds. The release before makes no rows, and forwards long senders under the null reverse-path.
_STATEMENTS: tuple[str, ...] = (
    """
    CREATE TABLE long_senders (
        domain text NOT NULL,
        token text NOT NULL,
        sender text NOT NULL,
        used_on date NOT NULL,
        CONSTRAINT long_senders_pkey PRIMARY KEY (domain, token)
    )
    """,
    "CREATE INDEX long_senders_used_on_idx ON long_senders (used_on)",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
