"""Privacy: who read the content of mailboxes, and limits that tenants cannot lift."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# Null is what the release before writes, and what keys from before have: admins may, others may not.
_STATEMENTS: tuple[str, ...] = ("ALTER TABLE api_keys ADD COLUMN message_content boolean",)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
