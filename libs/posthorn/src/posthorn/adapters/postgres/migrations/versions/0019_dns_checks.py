"""The last check of each domain's DNS records."""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

# It only adds; the release before does not know of it.
_STATEMENTS = (
    """
    CREATE TABLE dns_checks (
        domain_id bigint NOT NULL,
        state text NOT NULL,
        known text,
        checked_at timestamptz,
        due_at timestamptz NOT NULL,
        records jsonb NOT NULL,
        CONSTRAINT dns_checks_pkey PRIMARY KEY (domain_id),
        CONSTRAINT dns_checks_domain_id_fkey FOREIGN KEY (domain_id)
            REFERENCES domains (id) ON DELETE CASCADE,
        CONSTRAINT dns_checks_state_check CHECK (state IN ('right', 'wrong', 'unknown')),
        CONSTRAINT dns_checks_known_check CHECK (known IN ('right', 'wrong'))
    )
    """,
)


def upgrade() -> None:
    """Add the table."""
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Migrations go forward only."""
    raise NotImplementedError("migrations go forward only")
