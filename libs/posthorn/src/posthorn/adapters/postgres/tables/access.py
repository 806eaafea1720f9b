"""Tables of who may do what: credentials, sessions, limits, and records of both."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import CIDR, JSONB

from posthorn.adapters.postgres.tables.columns import created, metadata

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.id")),  # null: the whole platform
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    # SHA-256 of a key of 256 random bits
    Column("key_hash", LargeBinary, nullable=False, unique=True),
    Column("expires_at", DateTime(timezone=True)),
    Column("last_used_at", DateTime(timezone=True)),  # exact to a minute
    created(),
    Column("message_content", Boolean),  # null: as the role has it
    Column("networks", ARRAY(CIDR)),  # null or empty: any
    Column("last_used_address", Text),
    Index("api_keys_tenant_id_idx", "tenant_id", "id"),
    CheckConstraint(
        "role IN ('platform-admin', 'tenant-admin', 'read-only', 'send-only')", name="role"
    ),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("api_key_id", Uuid, nullable=False),
    Column("key", Text, nullable=False),
    Column("request_hash", LargeBinary, nullable=False),
    Column("status", SmallInteger),  # null while the first request runs
    Column("headers", Text),
    Column("body", LargeBinary),
    created(),
    PrimaryKeyConstraint("api_key_id", "key"),
    Index("idempotency_keys_created_at_idx", "created_at"),
)

app_passwords = Table(
    "app_passwords",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column(
        "account_id",
        BigInteger,
        ForeignKey("accounts.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("name", Text, nullable=False),
    Column("key_hash", LargeBinary, nullable=False, unique=True),  # SHA-256 of 256 random bits
    Column("scopes", ARRAY(Text), nullable=False),  # smtp, imap, pop3
    created(),
    Column("last_used_at", DateTime(timezone=True)),
    Column("expires_at", DateTime(timezone=True)),  # null: never
    Column("networks", ARRAY(CIDR)),  # null or empty: any
    Column("last_used_address", Text),
    Column("last_used_protocol", Text),
)

familiar_places = Table(
    "familiar_places",
    metadata,
    Column(
        "account_id", BigInteger, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True
    ),
    # a hash of the account and the network it was logged in to from
    Column("place", LargeBinary, primary_key=True),
    Column("seen_at", DateTime(timezone=True), nullable=False),
)

browser_sessions = Table(
    # who has signed in by a browser: with a key, as an account, or at the issuer of tokens
    "browser_sessions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("token_hash", LargeBinary, nullable=False, unique=True),  # SHA-256 of 256 random bits
    Column("owner", Uuid, nullable=False),  # id of the caller
    Column("api_key_id", Uuid, ForeignKey("api_keys.id", ondelete="CASCADE"), index=True),
    Column("account_id", BigInteger, ForeignKey("accounts.id", ondelete="CASCADE"), index=True),
    # digest_of the account's password_hash; another one ends the session
    Column("password", LargeBinary),
    # of a token: its tenant and what else it said
    Column("tenant_id", Uuid, ForeignKey("tenants.id", ondelete="CASCADE"), index=True),
    Column("name", Text),
    Column("role", Text),
    Column("message_content", Boolean),
    created(),
    Column("seen_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Index("browser_sessions_owner_idx", "owner", "created_at"),
)

login_links = Table(
    "login_links",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True),
    Column(
        "api_key_id",
        Uuid,
        ForeignKey("api_keys.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("expires_at", DateTime(timezone=True), nullable=False),
)

sign_ins = Table(
    # attempts to sign in to accounts, added up by day; bounded for each account
    "sign_ins",
    metadata,
    Column(
        "account_id", BigInteger, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True
    ),
    Column("day", Date, primary_key=True),
    Column("protocol", Text, primary_key=True),  # imap, pop3, smtp, api
    Column("address", Text, primary_key=True),  # of the client
    Column("app_password", Text, primary_key=True),  # its id; empty: the account's own, or a token
    Column("result", Text, primary_key=True),
    Column("app_password_name", Text),
    Column("attempts", BigInteger, nullable=False),
    Column("first_at", DateTime(timezone=True), nullable=False),
    Column("last_at", DateTime(timezone=True), nullable=False),
)

throttles = Table(
    "throttles",
    metadata,
    Column("key", Text, primary_key=True),
    Column("full_at", DateTime(timezone=True), nullable=False),  # when the bucket is full again
    postgresql_with={"fillfactor": 70},
    prefixes=["UNLOGGED"],  # a crash of the server resets the counts, and has no other effect
)

audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    # owner of the object; null: the platform. No foreign key: it outlives its tenant
    Column("tenant_id", Uuid),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("actor_id", Text, nullable=False),
    Column("actor_name", Text, nullable=False),
    Column("actor_role", Text, nullable=False),
    Column("action", Text, nullable=False),  # account.change
    Column("object", Text, nullable=False),
    Column("details", JSONB, nullable=False, server_default=text("'{}'")),  # never a secret
    Column("request_id", Text, nullable=False),
    Index("audit_tenant_id_idx", "tenant_id", "id"),
    Index("audit_object_idx", "object", "id"),
)
