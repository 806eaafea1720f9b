"""IMAP: what mailboxes went through, their counters, subscriptions, headers and structures."""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

# It only adds. The release before writes entries without counters and changes: it adds to modseq
# alone, by which this release notices. Nothing here reads or writes the entries, however many there
# are: counters are counted, and standard mailboxes completed, at first use.
_STATEMENTS: tuple[str, ...] = (
    """
    ALTER TABLE accounts
        ADD COLUMN last_mailbox_id integer NOT NULL DEFAULT 0,
        ADD COLUMN last_uidvalidity bigint NOT NULL DEFAULT 0,
        ADD COLUMN imap_prepared boolean NOT NULL DEFAULT false,
        ADD COLUMN save_sent boolean NOT NULL DEFAULT false,
        ADD COLUMN imap_hidden text[] NOT NULL DEFAULT '{}',
        ADD COLUMN scram bytea
    """,
    "ALTER TABLE installation ADD COLUMN scram_salt_key bytea",
    # 244 random bits
    """
    UPDATE installation
       SET scram_salt_key = sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
    """,
    """
    ALTER TABLE mailboxes
        ADD COLUMN counted_modseq bigint NOT NULL DEFAULT 0,
        ADD COLUMN messages bigint NOT NULL DEFAULT 0,
        ADD COLUMN unseen bigint NOT NULL DEFAULT 0,
        ADD COLUMN deleted bigint NOT NULL DEFAULT 0,
        ADD COLUMN octets bigint NOT NULL DEFAULT 0,
        ADD COLUMN keywords text[] NOT NULL DEFAULT '{}'
    """,
    # in two steps: existing entries keep null
    "ALTER TABLE mailbox_entries ADD COLUMN saved_at timestamptz",
    "ALTER TABLE mailbox_entries ALTER COLUMN saved_at SET DEFAULT now()",
    "ALTER TABLE mailbox_entries SET (fillfactor = 80)",
    """
    CREATE TABLE mailbox_changes (
        account_id bigint NOT NULL,
        mailbox_id integer NOT NULL,
        modseq bigint NOT NULL,
        kind smallint NOT NULL,
        uids int8multirange NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT mailbox_changes_pkey PRIMARY KEY (account_id, mailbox_id, modseq, kind)
    )
    """,
    "CREATE INDEX mailbox_changes_created_at_idx ON mailbox_changes USING brin (created_at)",
    """
    CREATE TABLE mailbox_subscriptions (
        account_id bigint NOT NULL,
        name text NOT NULL,
        CONSTRAINT mailbox_subscriptions_pkey PRIMARY KEY (account_id, name),
        CONSTRAINT mailbox_subscriptions_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts (id) ON DELETE CASCADE
    )
    """,
    """
    CREATE TABLE message_headers (
        message_id uuid,
        header bytea NOT NULL,
        CONSTRAINT message_headers_pkey PRIMARY KEY (message_id)
    )
    """,
    """
    CREATE TABLE message_structures (
        message_id uuid,
        version smallint NOT NULL,
        envelope bytea,
        structure bytea,
        CONSTRAINT message_structures_pkey PRIMARY KEY (message_id)
    ) WITH (fillfactor = 80)
    """,
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
