"""Password hashes of other programs are replaced at a login (ADR 45)."""

from __future__ import annotations

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

# It only adds. Services that check passwords may call the function and not write the column. The
# release before verifies no hash of another program: such accounts cannot log in while it runs.
_STATEMENTS = (
    "ALTER TABLE accounts ADD COLUMN rehashed bytea",
    """
    CREATE FUNCTION rehash_password(account bigint, old_digest bytea, new_hash text) RETURNS boolean
    LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
        WITH replaced AS (
            UPDATE accounts
               SET password_hash = new_hash,
                   rehashed = old_digest || sha256(convert_to(new_hash, 'UTF8'))
             WHERE id = account
               AND sha256(convert_to(password_hash, 'UTF8')) = old_digest
               AND password_hash NOT LIKE '$argon2id$%'
               AND new_hash LIKE '$argon2id$v=19$%' AND length(new_hash) <= 256
            RETURNING 1
        )
        SELECT EXISTS (SELECT FROM replaced)
    $$
    """,
    "REVOKE ALL ON FUNCTION rehash_password(bigint, bytea, text) FROM PUBLIC",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
