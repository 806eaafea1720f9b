"""Filtering: policies, quarantine, correspondents, what owners teach, and the verdict of a message."""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# It only adds. The release before delivers everything to INBOX, and makes no rows of these tables.
_STATEMENTS: tuple[str, ...] = (
    "ALTER TABLE messages ADD COLUMN verdict jsonb",
    """
    CREATE TABLE filter_policies (
        id bigint GENERATED ALWAYS AS IDENTITY,
        tenant_id uuid,
        domain_id bigint,
        account_id bigint,
        document jsonb NOT NULL,
        updated_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT filter_policies_pkey PRIMARY KEY (id),
        CONSTRAINT filter_policies_owner_key UNIQUE NULLS NOT DISTINCT (tenant_id, domain_id, account_id),
        CONSTRAINT filter_policies_owner_check CHECK (num_nonnulls(tenant_id, domain_id, account_id) <= 1),
        CONSTRAINT filter_policies_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE,
        CONSTRAINT filter_policies_domain_id_fkey FOREIGN KEY (domain_id) REFERENCES domains (id) ON DELETE CASCADE,
        CONSTRAINT filter_policies_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts (id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX filter_policies_domain_id_idx ON filter_policies (domain_id) WHERE domain_id IS NOT NULL",
    "CREATE INDEX filter_policies_account_id_idx ON filter_policies (account_id) WHERE account_id IS NOT NULL",
    """
    CREATE TABLE quarantine (
        id uuid,
        message_id uuid NOT NULL,
        tenant_id uuid NOT NULL,
        account_id bigint,
        recipient text NOT NULL,
        reason text NOT NULL,
        detail text NOT NULL,
        score float8 NOT NULL,
        envelope bytea NOT NULL,
        size_crlf bigint NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz NOT NULL,
        CONSTRAINT quarantine_pkey PRIMARY KEY (id),
        CONSTRAINT quarantine_message_id_recipient_account_id_key
            UNIQUE NULLS NOT DISTINCT (message_id, recipient, account_id),
        CONSTRAINT quarantine_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts (id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX quarantine_account_id_idx ON quarantine (account_id, id)",
    "CREATE INDEX quarantine_tenant_id_idx ON quarantine (tenant_id, id)",
    "CREATE INDEX quarantine_expires_at_idx ON quarantine (expires_at)",
    """
    CREATE TABLE correspondents (
        account_id bigint NOT NULL,
        address text NOT NULL,
        written_at timestamptz NOT NULL,
        CONSTRAINT correspondents_pkey PRIMARY KEY (account_id, address),
        CONSTRAINT correspondents_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts (id) ON DELETE CASCADE
    ) WITH (fillfactor = 80)
    """,
    """
    CREATE TABLE bayes_models (
        id bigint GENERATED ALWAYS AS IDENTITY,
        tenant_id uuid NOT NULL,
        account_id bigint,
        version bigint NOT NULL DEFAULT 1,
        spam_messages integer NOT NULL DEFAULT 0,
        ham_messages integer NOT NULL DEFAULT 0,
        tokens bytea NOT NULL,
        updated_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT bayes_models_pkey PRIMARY KEY (id),
        CONSTRAINT bayes_models_tenant_id_account_id_key UNIQUE NULLS NOT DISTINCT (tenant_id, account_id),
        CONSTRAINT bayes_models_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE,
        CONSTRAINT bayes_models_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts (id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX bayes_models_account_id_idx ON bayes_models (account_id) WHERE account_id IS NOT NULL",
    """
    CREATE TABLE classifications (
        account_id bigint NOT NULL,
        message_id uuid NOT NULL,
        wanted text NOT NULL,
        taught text NOT NULL DEFAULT 'none',
        tokens bytea,
        due_at timestamptz DEFAULT now(),
        attempts integer NOT NULL DEFAULT 0,
        created_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT classifications_pkey PRIMARY KEY (account_id, message_id),
        CONSTRAINT classifications_words_check
            CHECK (wanted IN ('spam', 'ham', 'none') AND taught IN ('spam', 'ham', 'none')),
        CONSTRAINT classifications_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts (id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX classifications_due_at_idx ON classifications (due_at) WHERE due_at IS NOT NULL",
    "CREATE INDEX classifications_created_at_idx ON classifications (created_at)",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
