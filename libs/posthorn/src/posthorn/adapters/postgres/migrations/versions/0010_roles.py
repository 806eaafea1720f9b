"""Roles: a Postgres role for each part.

Roles and grants are no part of the schema: they are made anew after every migration (``grants``). Here only what everybody was
once given goes: before Postgres 15 every role could make tables in the schema ``public``.
"""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_STATEMENTS: tuple[str, ...] = (
    """
    DO $$ BEGIN
        EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC', current_schema());
    EXCEPTION WHEN insufficient_privilege THEN
        NULL;  -- the schema is somebody else's, who decides
    END $$
    """,
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
