"""People: sessions of browsers, sign-ins, vacation replies; expiry and networks of credentials."""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

# It only adds. The release before knows no expiry and no networks of app passwords, and no networks
# of API keys: until it is gone, it accepts those that it should not.
_STATEMENTS: tuple[str, ...] = (
    """
    ALTER TABLE api_keys
        ADD COLUMN networks cidr[],
        ADD COLUMN last_used_address text
    """,
    """
    ALTER TABLE app_passwords
        ADD COLUMN expires_at timestamptz,
        ADD COLUMN networks cidr[],
        ADD COLUMN last_used_address text,
        ADD COLUMN last_used_protocol text
    """,
    """
    CREATE TABLE browser_sessions (
        id uuid NOT NULL,
        token_hash bytea NOT NULL,
        owner uuid NOT NULL,
        api_key_id uuid,
        account_id bigint,
        password bytea,
        tenant_id uuid,
        name text,
        role text,
        message_content boolean,
        created_at timestamptz NOT NULL DEFAULT now(),
        seen_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz NOT NULL,
        CONSTRAINT browser_sessions_pkey PRIMARY KEY (id),
        CONSTRAINT browser_sessions_token_hash_key UNIQUE (token_hash),
        CONSTRAINT browser_sessions_api_key_id_fkey FOREIGN KEY (api_key_id)
            REFERENCES api_keys (id) ON DELETE CASCADE,
        CONSTRAINT browser_sessions_account_id_fkey FOREIGN KEY (account_id)
            REFERENCES accounts (id) ON DELETE CASCADE,
        CONSTRAINT browser_sessions_tenant_id_fkey FOREIGN KEY (tenant_id)
            REFERENCES tenants (id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX browser_sessions_owner_idx ON browser_sessions (owner, created_at)",
    "CREATE INDEX browser_sessions_api_key_id_idx ON browser_sessions (api_key_id)",
    "CREATE INDEX browser_sessions_account_id_idx ON browser_sessions (account_id)",
    "CREATE INDEX browser_sessions_tenant_id_idx ON browser_sessions (tenant_id)",
    """
    CREATE TABLE login_links (
        token_hash bytea NOT NULL,
        api_key_id uuid NOT NULL,
        expires_at timestamptz NOT NULL,
        CONSTRAINT login_links_pkey PRIMARY KEY (token_hash),
        CONSTRAINT login_links_api_key_id_fkey FOREIGN KEY (api_key_id)
            REFERENCES api_keys (id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX login_links_api_key_id_idx ON login_links (api_key_id)",
    """
    CREATE TABLE sign_ins (
        account_id bigint NOT NULL,
        day date NOT NULL,
        protocol text NOT NULL,
        address text NOT NULL,
        app_password text NOT NULL,
        result text NOT NULL,
        app_password_name text,
        attempts bigint NOT NULL,
        first_at timestamptz NOT NULL,
        last_at timestamptz NOT NULL,
        CONSTRAINT sign_ins_pkey
            PRIMARY KEY (account_id, day, protocol, address, app_password, result),
        CONSTRAINT sign_ins_account_id_fkey FOREIGN KEY (account_id)
            REFERENCES accounts (id) ON DELETE CASCADE
    )
    """,
    """
    CREATE TABLE vacations (
        account_id bigint NOT NULL,
        enabled boolean NOT NULL,
        subject text NOT NULL,
        body text NOT NULL,
        starts_at timestamptz,
        ends_at timestamptz,
        updated_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT vacations_pkey PRIMARY KEY (account_id),
        CONSTRAINT vacations_account_id_fkey FOREIGN KEY (account_id)
            REFERENCES accounts (id) ON DELETE CASCADE
    )
    """,
    """
    CREATE TABLE vacation_replies (
        account_id bigint NOT NULL,
        sender bytea NOT NULL,
        replied_at timestamptz NOT NULL,
        CONSTRAINT vacation_replies_pkey PRIMARY KEY (account_id, sender),
        CONSTRAINT vacation_replies_account_id_fkey FOREIGN KEY (account_id)
            REFERENCES accounts (id) ON DELETE CASCADE
    )
    """,
)


def upgrade() -> None:
    """Add columns and tables; existing rows stay as they are."""
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Migrations go forward only."""
    raise NotImplementedError("migrations go forward only")
