"""The first schema: tenants, domains, accounts, aliases, mailboxes, messages, segments, leases and the directory outbox."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Plain SQL, frozen: a migration says what was done, whatever ``tables`` says later.
_STATEMENTS = (
    """
    CREATE TABLE tenants (
        id uuid NOT NULL,
        name text NOT NULL,
        created_at timestamptz DEFAULT now() NOT NULL,
        CONSTRAINT tenants_pkey PRIMARY KEY (id),
        CONSTRAINT tenants_name_key UNIQUE (name)
    )
    """,
    """
    CREATE TABLE domains (
        id bigint GENERATED ALWAYS AS IDENTITY,
        tenant_id uuid NOT NULL,
        name text NOT NULL,
        catch_all text,
        plus_addressing boolean DEFAULT true NOT NULL,
        created_at timestamptz DEFAULT now() NOT NULL,
        updated_at timestamptz DEFAULT now() NOT NULL,
        CONSTRAINT domains_pkey PRIMARY KEY (id),
        CONSTRAINT domains_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
        CONSTRAINT domains_name_key UNIQUE (name)
    )
    """,
    "CREATE INDEX domains_tenant_id_idx ON domains (tenant_id)",
    """
    CREATE TABLE accounts (
        id bigint GENERATED ALWAYS AS IDENTITY,
        domain_id bigint NOT NULL,
        address text NOT NULL,
        password_hash text NOT NULL,
        quota_bytes bigint,
        used_bytes bigint DEFAULT 0 NOT NULL,
        used_messages bigint DEFAULT 0 NOT NULL,
        state text DEFAULT 'active' NOT NULL,
        created_at timestamptz DEFAULT now() NOT NULL,
        updated_at timestamptz DEFAULT now() NOT NULL,
        CONSTRAINT accounts_pkey PRIMARY KEY (id),
        CONSTRAINT accounts_state_check CHECK (state IN ('active', 'suspended', 'receive-only')),
        CONSTRAINT accounts_used_check CHECK (used_bytes >= 0 AND used_messages >= 0),
        CONSTRAINT accounts_domain_id_fkey FOREIGN KEY (domain_id) REFERENCES domains (id),
        CONSTRAINT accounts_address_key UNIQUE (address)
    ) WITH (fillfactor = 70)
    """,
    "CREATE INDEX accounts_domain_id_idx ON accounts (domain_id)",
    """
    CREATE TABLE aliases (
        id bigint GENERATED ALWAYS AS IDENTITY,
        domain_id bigint NOT NULL,
        address text NOT NULL,
        targets text[] NOT NULL,
        created_at timestamptz DEFAULT now() NOT NULL,
        updated_at timestamptz DEFAULT now() NOT NULL,
        CONSTRAINT aliases_pkey PRIMARY KEY (id),
        CONSTRAINT aliases_domain_id_fkey FOREIGN KEY (domain_id) REFERENCES domains (id),
        CONSTRAINT aliases_address_key UNIQUE (address)
    )
    """,
    "CREATE INDEX aliases_domain_id_idx ON aliases (domain_id)",
    "CREATE INDEX aliases_targets_idx ON aliases USING gin (targets)",
    """
    CREATE TABLE api_keys (
        id uuid NOT NULL,
        tenant_id uuid,
        name text NOT NULL,
        role text NOT NULL,
        key_hash bytea NOT NULL,
        created_at timestamptz DEFAULT now() NOT NULL,
        CONSTRAINT api_keys_pkey PRIMARY KEY (id),
        CONSTRAINT api_keys_role_check CHECK (role IN ('platform-admin', 'tenant-admin', 'read-only', 'send-only')),
        CONSTRAINT api_keys_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
        CONSTRAINT api_keys_key_hash_key UNIQUE (key_hash)
    )
    """,
    """
    CREATE TABLE idempotency_keys (
        api_key_id uuid NOT NULL,
        key text NOT NULL,
        request_hash bytea NOT NULL,
        status smallint,
        headers text,
        body bytea,
        created_at timestamptz DEFAULT now() NOT NULL,
        CONSTRAINT idempotency_keys_pkey PRIMARY KEY (api_key_id, key)
    )
    """,
    "CREATE INDEX idempotency_keys_created_at_idx ON idempotency_keys (created_at)",
    """
    CREATE TABLE mailboxes (
        account_id bigint NOT NULL,
        mailbox_id integer NOT NULL,
        name text NOT NULL,
        role text,
        uidvalidity bigint NOT NULL,
        uidnext bigint DEFAULT 1 NOT NULL,
        modseq bigint DEFAULT 1 NOT NULL,
        CONSTRAINT mailboxes_pkey PRIMARY KEY (account_id, mailbox_id),
        CONSTRAINT mailboxes_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts (id) ON DELETE CASCADE
    ) WITH (fillfactor = 70)
    """,
    "CREATE UNIQUE INDEX mailboxes_account_id_name_key ON mailboxes (account_id, name)",
    """
    CREATE TABLE segments (
        id uuid NOT NULL,
        key text NOT NULL,
        octets bigint NOT NULL,
        live_octets bigint NOT NULL,
        condemned_at timestamptz,
        created_at timestamptz DEFAULT now() NOT NULL,
        CONSTRAINT segments_pkey PRIMARY KEY (id),
        CONSTRAINT segments_key_key UNIQUE (key)
    )
    """,
    "CREATE INDEX segments_condemned_at_idx ON segments (condemned_at) WHERE condemned_at IS NOT NULL",
    """
    CREATE INDEX segments_live_idx ON segments ((live_octets::float8 / greatest(octets, 1)), created_at)
        WHERE condemned_at IS NULL
    """,
    """
    CREATE TABLE messages (
        id uuid NOT NULL,
        segment_id uuid,
        offset_octets bigint NOT NULL,
        stored_octets bigint NOT NULL,
        encoding text NOT NULL,
        size_crlf bigint NOT NULL,
        has_dot_lines boolean NOT NULL,
        sha256 bytea NOT NULL,
        return_path_octets integer NOT NULL,
        refs integer NOT NULL,
        received_at timestamptz NOT NULL,
        placed_at timestamptz DEFAULT now() NOT NULL,
        reverse_path text NOT NULL,
        subject text NOT NULL,
        from_ text NOT NULL,
        date text NOT NULL,
        message_id text NOT NULL,
        CONSTRAINT messages_pkey PRIMARY KEY (id),
        CONSTRAINT messages_refs_check CHECK (refs >= 0),
        CONSTRAINT messages_segment_id_fkey FOREIGN KEY (segment_id) REFERENCES segments (id) ON DELETE SET NULL
    )
    """,
    "CREATE INDEX messages_segment_id_idx ON messages (segment_id, offset_octets)",
    "CREATE INDEX messages_unreferenced_idx ON messages (placed_at) WHERE refs = 0",
    """
    CREATE TABLE mailbox_entries (
        account_id bigint NOT NULL,
        mailbox_id integer NOT NULL,
        uid bigint NOT NULL,
        message_id uuid NOT NULL,
        size_crlf bigint NOT NULL,
        flags integer DEFAULT 0 NOT NULL,
        keywords text[] DEFAULT '{}' NOT NULL,
        internal_date timestamptz NOT NULL,
        modseq bigint DEFAULT 1 NOT NULL,
        CONSTRAINT mailbox_entries_pkey PRIMARY KEY (account_id, mailbox_id, uid)
    )
    """,
    "CREATE INDEX mailbox_entries_account_id_message_id_idx ON mailbox_entries (account_id, message_id)",
    """
    CREATE UNLOGGED TABLE maildrop_leases (
        account_id bigint NOT NULL,
        holder uuid NOT NULL,
        expires_at timestamptz NOT NULL,
        CONSTRAINT maildrop_leases_pkey PRIMARY KEY (account_id),
        CONSTRAINT maildrop_leases_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts (id) ON DELETE CASCADE
    ) WITH (fillfactor = 50)
    """,
    """
    CREATE TABLE directory_outbox (
        id bigint GENERATED ALWAYS AS IDENTITY,
        subject text NOT NULL,
        created_at timestamptz DEFAULT now() NOT NULL,
        CONSTRAINT directory_outbox_pkey PRIMARY KEY (id)
    )
    """,
    """
    CREATE TABLE leaderships (
        task text NOT NULL,
        holder uuid NOT NULL,
        expires_at timestamptz NOT NULL,
        CONSTRAINT leaderships_pkey PRIMARY KEY (task)
    )
    """,
    "INSERT INTO tenants (id, name) VALUES ('00000000-0000-7000-8000-000000000001', 'default')",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
