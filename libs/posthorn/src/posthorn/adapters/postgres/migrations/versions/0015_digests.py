"""Digests: which accounts are read by POP3, and what each was last told of."""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

# It only adds. The release before records no logins and sends no digests.
_STATEMENTS: tuple[str, ...] = (
    """
    CREATE TABLE pop3_logins (
        account_id bigint NOT NULL,
        seen_on date NOT NULL,
        CONSTRAINT pop3_logins_pkey PRIMARY KEY (account_id),
        CONSTRAINT pop3_logins_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts (id) ON DELETE CASCADE
    ) WITH (fillfactor = 80)
    """,
    """
    CREATE TABLE digests (
        account_id bigint NOT NULL,
        sent_at timestamptz NOT NULL,
        junk_uid bigint NOT NULL DEFAULT 0,
        quarantine_id uuid,
        CONSTRAINT digests_pkey PRIMARY KEY (account_id),
        CONSTRAINT digests_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts (id) ON DELETE CASCADE
    ) WITH (fillfactor = 80)
    """,
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
