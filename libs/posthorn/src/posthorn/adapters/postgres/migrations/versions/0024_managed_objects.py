"""Marks of what the documents of managers name."""

from __future__ import annotations

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

# It only adds. The release before neither shows nor changes marks; they go with what it deletes.
_KINDS = ("domain_id", "account_id", "alias_id", "webhook_id", "route")
_STATEMENTS = (
    """
    CREATE TABLE managed_objects (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        tenant_id uuid NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
        manager text NOT NULL,
        domain_id bigint REFERENCES domains (id) ON DELETE CASCADE,
        account_id bigint REFERENCES accounts (id) ON DELETE CASCADE,
        alias_id bigint REFERENCES aliases (id) ON DELETE CASCADE,
        webhook_id uuid REFERENCES webhooks (id) ON DELETE CASCADE,
        route text REFERENCES routes (domain) ON DELETE CASCADE,
        fields text[] NOT NULL,
        since timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT managed_objects_object_check
            CHECK (num_nonnulls(domain_id, account_id, alias_id, webhook_id, route) = 1)
    )
    """,
    "CREATE INDEX managed_objects_tenant_id_manager_idx ON managed_objects (tenant_id, manager)",
    *(
        f"CREATE UNIQUE INDEX managed_objects_{column}_key ON managed_objects ({column})"
        f" WHERE {column} IS NOT NULL"
        for column in _KINDS
    ),
)


def upgrade() -> None:
    """Add a table; existing rows stay as they are."""
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Migrations go forward only."""
    raise NotImplementedError("migrations go forward only")
