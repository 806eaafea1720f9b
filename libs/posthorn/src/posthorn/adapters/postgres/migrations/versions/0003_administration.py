"""Administration: tenants with limits, API keys that expire, the audit log, webhooks, statistics, mail that can be undeleted."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Plain SQL, frozen: a migration says what was done, whatever ``tables`` says later. It only adds, so that the release before
# goes on working on it. A domain that the release before makes counts as verified, as all of them did until now.
_STATEMENTS = (
    """
    ALTER TABLE tenants
        ADD COLUMN state text DEFAULT 'active' NOT NULL,
        ADD COLUMN max_domains integer,
        ADD COLUMN max_accounts integer,
        ADD COLUMN quota_bytes bigint,
        ADD COLUMN max_messages_per_hour integer,
        ADD COLUMN max_recipients_per_hour integer,
        ADD COLUMN verify_domains boolean DEFAULT false NOT NULL,
        ADD COLUMN min_password_length integer DEFAULT 8 NOT NULL,
        ADD COLUMN updated_at timestamptz DEFAULT now() NOT NULL,
        ADD CONSTRAINT tenants_state_check CHECK (state IN ('active', 'suspended'))
    """,
    """
    ALTER TABLE domains
        ADD COLUMN verification_token text,
        ADD COLUMN verified_at timestamptz DEFAULT now(),
        ADD COLUMN retention_days integer,
        ADD COLUMN max_accounts integer,
        ADD COLUMN quota_bytes bigint,
        ADD COLUMN undelete_days smallint DEFAULT 0 NOT NULL
    """,
    "ALTER TABLE api_keys ADD COLUMN expires_at timestamptz, ADD COLUMN last_used_at timestamptz",
    "CREATE INDEX api_keys_tenant_id_idx ON api_keys (tenant_id, id)",
    # pages of one domain's accounts, in the place of indexes that gave them in no order
    "CREATE INDEX accounts_domain_id_address_idx ON accounts (domain_id, address)",
    "DROP INDEX accounts_domain_id_idx",
    "CREATE INDEX aliases_domain_id_address_idx ON aliases (domain_id, address)",
    "DROP INDEX aliases_domain_id_idx",
    """
    CREATE TABLE audit (
        id bigint GENERATED ALWAYS AS IDENTITY,
        tenant_id uuid,
        at timestamptz DEFAULT now() NOT NULL,
        actor_id text NOT NULL,
        actor_name text NOT NULL,
        actor_role text NOT NULL,
        action text NOT NULL,
        object text NOT NULL,
        details jsonb DEFAULT '{}' NOT NULL,
        request_id text NOT NULL,
        CONSTRAINT audit_pkey PRIMARY KEY (id)
    )
    """,
    "CREATE INDEX audit_tenant_id_idx ON audit (tenant_id, id)",
    "CREATE INDEX audit_object_idx ON audit (object, id)",
    """
    CREATE TABLE webhooks (
        id uuid NOT NULL,
        tenant_id uuid,
        url text NOT NULL,
        secret bytea NOT NULL,
        events text[] NOT NULL,
        domain text,
        state text DEFAULT 'active' NOT NULL,
        created_at timestamptz DEFAULT now() NOT NULL,
        updated_at timestamptz DEFAULT now() NOT NULL,
        CONSTRAINT webhooks_pkey PRIMARY KEY (id),
        CONSTRAINT webhooks_state_check CHECK (state IN ('active', 'paused', 'failing')),
        CONSTRAINT webhooks_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id)
    )
    """,
    "CREATE INDEX webhooks_tenant_id_idx ON webhooks (tenant_id, id)",
    """
    CREATE TABLE webhook_deliveries (
        id uuid NOT NULL,
        webhook_id uuid NOT NULL,
        event jsonb NOT NULL,
        event_type text NOT NULL,
        state text DEFAULT 'waiting' NOT NULL,
        attempts integer DEFAULT 0 NOT NULL,
        due_at timestamptz DEFAULT now() NOT NULL,
        last_status integer,
        last_reply text DEFAULT '' NOT NULL,
        created_at timestamptz DEFAULT now() NOT NULL,
        closed_at timestamptz,
        CONSTRAINT webhook_deliveries_pkey PRIMARY KEY (id),
        CONSTRAINT webhook_deliveries_state_check CHECK (state IN ('waiting', 'delivered', 'failed')),
        CONSTRAINT webhook_deliveries_webhook_id_fkey FOREIGN KEY (webhook_id) REFERENCES webhooks (id) ON DELETE CASCADE
    ) WITH (fillfactor = 80)
    """,
    "CREATE INDEX webhook_deliveries_due_idx ON webhook_deliveries (due_at) WHERE state = 'waiting'",
    "CREATE INDEX webhook_deliveries_webhook_id_idx ON webhook_deliveries (webhook_id, id)",
    "CREATE INDEX webhook_deliveries_closed_at_idx ON webhook_deliveries (closed_at) WHERE closed_at IS NOT NULL",
    """
    CREATE TABLE statistics (
        tenant_id uuid NOT NULL,
        domain text NOT NULL,
        hour timestamptz NOT NULL,
        outcome text NOT NULL,
        messages bigint DEFAULT 0 NOT NULL,
        octets bigint DEFAULT 0 NOT NULL,
        CONSTRAINT statistics_pkey PRIMARY KEY (tenant_id, domain, hour, outcome)
    ) WITH (fillfactor = 70)
    """,
    "CREATE INDEX statistics_hour_idx ON statistics (hour)",
    """
    CREATE TABLE deleted_entries (
        account_id bigint NOT NULL,
        message_id uuid NOT NULL,
        mailbox_id integer NOT NULL,
        size_crlf bigint NOT NULL,
        flags integer DEFAULT 0 NOT NULL,
        keywords text[] DEFAULT '{}' NOT NULL,
        internal_date timestamptz NOT NULL,
        deleted_at timestamptz DEFAULT now() NOT NULL,
        CONSTRAINT deleted_entries_pkey PRIMARY KEY (account_id, message_id, mailbox_id, deleted_at)
    )
    """,
    "CREATE INDEX deleted_entries_deleted_at_idx ON deleted_entries (deleted_at)",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
