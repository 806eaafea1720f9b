"""Familiar places: where accounts have logged in from; leases of maildrops say whether an app password took them."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# It only adds. A lease that the release before takes says nothing of app passwords and is nobody's to take over.
_STATEMENTS: tuple[str, ...] = (
    """
    CREATE TABLE familiar_places (
        account_id bigint NOT NULL,
        place bytea NOT NULL,
        seen_at timestamptz NOT NULL,
        CONSTRAINT familiar_places_pkey PRIMARY KEY (account_id, place),
        CONSTRAINT familiar_places_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts (id) ON DELETE CASCADE
    )
    """,
    "ALTER TABLE maildrop_leases ADD COLUMN by_app_password boolean DEFAULT false NOT NULL",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
