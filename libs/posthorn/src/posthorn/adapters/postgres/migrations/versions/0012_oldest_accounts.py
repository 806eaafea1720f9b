"""Oldest accounts: who takes a postmaster's mail in a domain that names nobody."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX accounts_domain_id_id_idx ON accounts (domain_id, id)")
