"""Letters out: the outbound queue, routes, suppressions, DKIM keys, app passwords, limits of sending."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Plain SQL, frozen: a migration says what was done, whatever ``tables`` says later. It only adds, so that the release before
# goes on working on it.
_STATEMENTS = (
    """
    ALTER TABLE domains
        ADD COLUMN max_messages_per_hour integer,
        ADD COLUMN max_recipients_per_hour integer,
        ADD COLUMN allowed_networks cidr[]
    """,
    """
    ALTER TABLE accounts
        ADD COLUMN max_messages_per_hour integer,
        ADD COLUMN max_recipients_per_hour integer,
        ADD COLUMN allowed_networks cidr[]
    """,
    """
    CREATE TABLE app_passwords (
        id uuid NOT NULL,
        account_id bigint NOT NULL,
        name text NOT NULL,
        key_hash bytea NOT NULL,
        scopes text[] NOT NULL,
        created_at timestamptz DEFAULT now() NOT NULL,
        last_used_at timestamptz,
        CONSTRAINT app_passwords_pkey PRIMARY KEY (id),
        CONSTRAINT app_passwords_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts (id) ON DELETE CASCADE,
        CONSTRAINT app_passwords_key_hash_key UNIQUE (key_hash)
    )
    """,
    "CREATE INDEX app_passwords_account_id_idx ON app_passwords (account_id)",
    """
    CREATE UNLOGGED TABLE throttles (
        key text NOT NULL,
        full_at timestamptz NOT NULL,
        CONSTRAINT throttles_pkey PRIMARY KEY (key)
    ) WITH (fillfactor = 70)
    """,
    """
    CREATE TABLE dkim_keys (
        id uuid NOT NULL,
        domain_id bigint NOT NULL,
        selector text NOT NULL,
        algorithm text NOT NULL,
        public_key bytea NOT NULL,
        private_key bytea NOT NULL,
        signs_from timestamptz NOT NULL,
        signs_until timestamptz,
        published_until timestamptz,
        created_at timestamptz DEFAULT now() NOT NULL,
        CONSTRAINT dkim_keys_pkey PRIMARY KEY (id),
        CONSTRAINT dkim_keys_algorithm_check CHECK (algorithm IN ('rsa', 'ed25519')),
        CONSTRAINT dkim_keys_domain_id_fkey FOREIGN KEY (domain_id) REFERENCES domains (id) ON DELETE CASCADE,
        CONSTRAINT dkim_keys_domain_id_selector_key UNIQUE (domain_id, selector)
    )
    """,
    """
    CREATE TABLE routes (
        domain text NOT NULL,
        host text,
        port integer,
        tls text NOT NULL,
        username text,
        password bytea,
        connections integer,
        messages_per_minute integer,
        created_at timestamptz DEFAULT now() NOT NULL,
        updated_at timestamptz DEFAULT now() NOT NULL,
        CONSTRAINT routes_pkey PRIMARY KEY (domain),
        CONSTRAINT routes_tls_check CHECK (tls IN ('none', 'opportunistic', 'required', 'verified', 'implicit'))
    )
    """,
    """
    CREATE TABLE suppressions (
        tenant_id uuid NOT NULL,
        address text NOT NULL,
        reason text NOT NULL,
        source text NOT NULL,
        message_id uuid,
        created_at timestamptz DEFAULT now() NOT NULL,
        CONSTRAINT suppressions_pkey PRIMARY KEY (tenant_id, address),
        CONSTRAINT suppressions_source_check CHECK (source IN ('bounce', 'api')),
        CONSTRAINT suppressions_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id)
    )
    """,
    "CREATE INDEX suppressions_domain_idx ON suppressions (tenant_id, split_part(address, '@', -1), address)",
    """
    CREATE TABLE mta_sts_policies (
        domain text NOT NULL,
        policy_id text NOT NULL,
        mode text NOT NULL,
        hosts text[] NOT NULL,
        fetched_at timestamptz DEFAULT now() NOT NULL,
        expires_at timestamptz NOT NULL,
        CONSTRAINT mta_sts_policies_pkey PRIMARY KEY (domain),
        CONSTRAINT mta_sts_policies_mode_check CHECK (mode IN ('none', 'testing', 'enforce'))
    )
    """,
    """
    CREATE TABLE outbound_messages (
        message_id uuid NOT NULL,
        tenant_id uuid,
        submitter text NOT NULL,
        smtputf8 boolean NOT NULL,
        ret text NOT NULL,
        envid text NOT NULL,
        signature text NOT NULL,
        open integer NOT NULL,
        reporter uuid,
        reporting_until timestamptz DEFAULT '-infinity' NOT NULL,
        created_at timestamptz DEFAULT now() NOT NULL,
        CONSTRAINT outbound_messages_pkey PRIMARY KEY (message_id),
        CONSTRAINT outbound_messages_open_check CHECK (open >= 0)
    ) WITH (fillfactor = 80)
    """,
    """
    CREATE TABLE outbound_recipients (
        id bigint GENERATED ALWAYS AS IDENTITY,
        message_id uuid NOT NULL,
        tenant_id uuid,
        destination text NOT NULL,
        recipient text NOT NULL,
        address text NOT NULL,
        sender text NOT NULL,
        reverse_path text NOT NULL,
        original text NOT NULL,
        orcpt text NOT NULL,
        notify smallint NOT NULL,
        state text NOT NULL,
        due_at timestamptz NOT NULL,
        attempts integer DEFAULT 0 NOT NULL,
        holder uuid,
        overdue_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL,
        last_attempt_at timestamptz,
        last_host text DEFAULT '' NOT NULL,
        last_status text DEFAULT '' NOT NULL,
        last_reply text DEFAULT '' NOT NULL,
        last_tls text DEFAULT '' NOT NULL,
        notice text,
        created_at timestamptz DEFAULT now() NOT NULL,
        closed_at timestamptz,
        CONSTRAINT outbound_recipients_pkey PRIMARY KEY (id),
        CONSTRAINT outbound_recipients_state_check
            CHECK (state IN ('queued', 'sending', 'deferred', 'held', 'delivered', 'bounced', 'cancelled')),
        CONSTRAINT outbound_recipients_notice_check CHECK (notice IN ('failed', 'delayed', 'delivered', 'relayed', 'expanded'))
    ) WITH (fillfactor = 80)
    """,
    """
    CREATE INDEX outbound_recipients_due_idx ON outbound_recipients (destination, due_at, id)
        WHERE state IN ('queued', 'deferred')
    """,
    "CREATE INDEX outbound_recipients_overdue_idx ON outbound_recipients (overdue_at) WHERE state IN ('queued', 'deferred')",
    "CREATE INDEX outbound_recipients_holder_idx ON outbound_recipients (holder) WHERE state = 'sending'",
    "CREATE INDEX outbound_recipients_notice_idx ON outbound_recipients (message_id) WHERE notice IS NOT NULL",
    "CREATE INDEX outbound_recipients_closed_at_idx ON outbound_recipients (closed_at) WHERE closed_at IS NOT NULL",
    "CREATE INDEX outbound_recipients_message_id_idx ON outbound_recipients (message_id, id)",
    "CREATE INDEX outbound_recipients_destination_idx ON outbound_recipients (destination, id)",
    "CREATE INDEX outbound_recipients_address_idx ON outbound_recipients (address, id)",
    "CREATE INDEX outbound_recipients_sender_idx ON outbound_recipients (lower(sender), id)",
    "CREATE INDEX outbound_recipients_tenant_id_idx ON outbound_recipients (tenant_id, id)",
    "CREATE INDEX outbound_recipients_state_idx ON outbound_recipients (state, id)",
    """
    CREATE TABLE outbound_destinations (
        name text NOT NULL,
        due_at timestamptz NOT NULL,
        CONSTRAINT outbound_destinations_pkey PRIMARY KEY (name)
    ) WITH (fillfactor = 50)
    """,
    "CREATE INDEX outbound_destinations_due_at_idx ON outbound_destinations (due_at)",
    """
    CREATE TABLE outbound_lanes (
        key text NOT NULL,
        failures integer DEFAULT 0 NOT NULL,
        closed_until timestamptz DEFAULT '-infinity' NOT NULL,
        full_at timestamptz DEFAULT '-infinity' NOT NULL,
        last_host text DEFAULT '' NOT NULL,
        last_reply text DEFAULT '' NOT NULL,
        CONSTRAINT outbound_lanes_pkey PRIMARY KEY (key)
    ) WITH (fillfactor = 50)
    """,
    "CREATE INDEX outbound_lanes_closed_until_idx ON outbound_lanes (closed_until)",
    """
    CREATE TABLE outbound_slots (
        id uuid NOT NULL,
        lane text NOT NULL,
        relay uuid NOT NULL,
        CONSTRAINT outbound_slots_pkey PRIMARY KEY (id)
    )
    """,
    "CREATE INDEX outbound_slots_lane_idx ON outbound_slots (lane)",
    "CREATE INDEX outbound_slots_relay_idx ON outbound_slots (relay)",
    """
    CREATE TABLE relays (
        id uuid NOT NULL,
        alive_until timestamptz NOT NULL,
        buried_at timestamptz,
        CONSTRAINT relays_pkey PRIMARY KEY (id)
    ) WITH (fillfactor = 50)
    """,
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
