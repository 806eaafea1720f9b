"""Tables of the directory: tenants, domains, accounts, aliases, and what belongs to them."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import CIDR, JSONB

from posthorn.adapters.postgres.tables.columns import created, metadata, updated

tenants = Table(
    "tenants",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("state", Text, nullable=False, server_default=text("'active'")),
    Column("max_domains", Integer),  # null: unlimited
    Column("max_accounts", Integer),
    Column("quota_bytes", BigInteger),  # of the sum of its accounts' quotas
    Column("max_messages_per_hour", Integer),  # of all its accounts together
    Column("max_recipients_per_hour", Integer),
    Column("verify_domains", Boolean, nullable=False, server_default=text("false")),
    Column("min_password_length", Integer, nullable=False, server_default=text("8")),
    created(),
    updated(),
    CheckConstraint("state IN ('active', 'suspended')", name="state"),
)

domains = Table(
    "domains",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False, index=True),
    Column("name", Text, nullable=False, unique=True),  # canonical (A-label) form
    Column("catch_all", Text),  # canonical address
    Column("plus_addressing", Boolean, nullable=False, server_default=text("true")),
    Column("max_messages_per_hour", Integer),  # null: as the settings say
    Column("max_recipients_per_hour", Integer),
    Column("allowed_networks", ARRAY(CIDR)),  # null or empty: any
    Column("verification_token", Text),
    # null: takes no mail yet
    Column("verified_at", DateTime(timezone=True), server_default=func.now()),
    Column("retention_days", Integer),  # null: without limit
    Column("max_accounts", Integer),
    Column("quota_bytes", BigInteger),  # of the sum of its accounts' quotas
    # addresses that its account holders may forward to; 0: none
    Column("account_forwards", SmallInteger, nullable=False, server_default=text("0")),
    # 0: no undelete
    Column("undelete_days", SmallInteger, nullable=False, server_default=text("0")),
    created(),
    updated(),
)

dns_checks = Table(
    # the last check of a domain's DNS records
    "dns_checks",
    metadata,
    Column("domain_id", BigInteger, ForeignKey("domains.id", ondelete="CASCADE"), primary_key=True),
    Column("state", Text, nullable=False),
    Column("known", Text),  # the last state but unknown; null: none yet
    Column("checked_at", DateTime(timezone=True)),  # null: never, only postponed
    Column("due_at", DateTime(timezone=True), nullable=False),
    Column("records", JSONB, nullable=False),
    CheckConstraint("state IN ('right', 'wrong', 'unknown')", name="state"),
    CheckConstraint("known IN ('right', 'wrong')", name="known"),
)

dkim_keys = Table(
    "dkim_keys",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("domain_id", BigInteger, ForeignKey("domains.id", ondelete="CASCADE"), nullable=False),
    Column("selector", Text, nullable=False),
    Column("algorithm", Text, nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("private_key", LargeBinary, nullable=False),  # encrypted, see runtime.secret_box
    Column("signs_from", DateTime(timezone=True), nullable=False),
    Column("signs_until", DateTime(timezone=True)),
    Column("published_until", DateTime(timezone=True)),
    created(),
    CheckConstraint("algorithm IN ('rsa', 'ed25519')", name="algorithm"),
    UniqueConstraint("domain_id", "selector"),
)

accounts = Table(
    "accounts",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("domain_id", BigInteger, ForeignKey("domains.id"), nullable=False),
    Column("address", Text, nullable=False, unique=True),  # canonical form
    Column("password_hash", Text, nullable=False),
    Column("quota_bytes", BigInteger),  # null: unlimited
    Column("used_bytes", BigInteger, nullable=False, server_default=text("0")),
    Column("used_messages", BigInteger, nullable=False, server_default=text("0")),
    Column("state", Text, nullable=False, server_default=text("'active'")),
    Column("max_messages_per_hour", Integer),  # null: as the settings say
    Column("max_recipients_per_hour", Integer),
    Column("allowed_networks", ARRAY(CIDR)),  # null or empty: any
    created(),
    updated(),
    # the highest ever given; never fall, so that neither comes again (RFC 9051 §2.3.1.1)
    Column("last_mailbox_id", Integer, nullable=False, server_default=text("0")),
    Column("last_uidvalidity", BigInteger, nullable=False, server_default=text("0")),
    # standard mailboxes are complete and subscribed to; done at the first login by IMAP
    Column("imap_prepared", Boolean, nullable=False, server_default=text("false")),
    # submission puts a copy of what the account sends into Sent
    Column("save_sent", Boolean, nullable=False, server_default=text("false")),
    # capabilities that IMAP does not show to this account
    Column("imap_hidden", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    # verifier for SCRAM, bound to the present password_hash (ADR 35); null: none
    Column("scram", LargeBinary),
    # digests of the hash that password_hash has replaced and of password_hash (ADR 45): sessions with
    # either go on; null, or another password_hash: none
    Column("rehashed", LargeBinary),
    CheckConstraint("state IN ('active', 'suspended', 'receive-only')", name="state"),
    CheckConstraint("used_bytes >= 0 AND used_messages >= 0", name="used"),
    Index("accounts_domain_id_address_idx", "domain_id", "address"),
    Index("accounts_domain_id_id_idx", "domain_id", "id"),
    postgresql_with={"fillfactor": 70},
)

vacations = Table(
    "vacations",
    metadata,
    Column(
        "account_id",
        BigInteger,
        ForeignKey("accounts.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("enabled", Boolean, nullable=False),
    Column("subject", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("starts_at", DateTime(timezone=True)),
    Column("ends_at", DateTime(timezone=True)),
    updated(),
)

vacation_replies = Table(
    "vacation_replies",
    metadata,
    Column(
        "account_id", BigInteger, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True
    ),
    Column("sender", LargeBinary, primary_key=True),  # SHA-256 of the address
    Column("replied_at", DateTime(timezone=True), nullable=False),
)

aliases = Table(
    "aliases",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("domain_id", BigInteger, ForeignKey("domains.id"), nullable=False),
    Column("address", Text, nullable=False, unique=True),  # canonical form
    Column("targets", ARRAY(Text), nullable=False),  # canonical addresses
    created(),
    updated(),
    # its owner's sending limit is reached until then
    Column("limited_until", DateTime(timezone=True)),
    # null: an alias; else the forward of the account with this address
    Column("keeps_copy", Boolean),
    Index("aliases_domain_id_address_idx", "domain_id", "address"),
    Index("aliases_targets_idx", "targets", postgresql_using="gin"),
)

alias_targets = Table(
    "alias_targets",
    metadata,
    # UUIDv7; the id of the message that asks for confirmation
    Column("id", Uuid, primary_key=True),
    Column("alias_id", BigInteger, ForeignKey("aliases.id", ondelete="CASCADE"), nullable=False),
    # canonical address elsewhere; one without a row counts as confirmed
    Column("target", Text, nullable=False),
    created(),
    # when to ask; null: asked
    Column("due_at", DateTime(timezone=True), server_default=func.now()),
    Column("confirmed_at", DateTime(timezone=True)),  # null: gets no mail yet
    UniqueConstraint("alias_id", "target"),
    Index("alias_targets_due_at_idx", "due_at", postgresql_where=text("due_at IS NOT NULL")),
)

managed_objects = Table(
    # marks of what the documents of managers name (ADR 51)
    "managed_objects",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    # whose document names the object
    Column("tenant_id", Uuid, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    Column("manager", Text, nullable=False),
    Column("domain_id", BigInteger, ForeignKey("domains.id", ondelete="CASCADE")),
    Column("account_id", BigInteger, ForeignKey("accounts.id", ondelete="CASCADE")),
    Column("alias_id", BigInteger, ForeignKey("aliases.id", ondelete="CASCADE")),
    Column("webhook_id", Uuid, ForeignKey("webhooks.id", ondelete="CASCADE")),
    Column("route", Text, ForeignKey("routes.domain", ondelete="CASCADE")),
    Column("fields", ARRAY(Text), nullable=False),  # that the document sets, sorted
    Column("since", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint(
        "num_nonnulls(domain_id, account_id, alias_id, webhook_id, route) = 1", name="object"
    ),
    Index("managed_objects_tenant_id_manager_idx", "tenant_id", "manager"),
    *(
        Index(
            f"managed_objects_{column}_key",
            column,
            unique=True,
            postgresql_where=text(f"{column} IS NOT NULL"),
        )
        for column in ("domain_id", "account_id", "alias_id", "webhook_id", "route")
    ),
)

filter_policies = Table(
    # of an account, a domain or a tenant; of the system, if all three are null
    "filter_policies",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.id", ondelete="CASCADE")),
    Column("domain_id", BigInteger, ForeignKey("domains.id", ondelete="CASCADE")),
    Column("account_id", BigInteger, ForeignKey("accounts.id", ondelete="CASCADE")),
    Column("document", JSONB, nullable=False),  # as model.filter_policy checks it
    updated(),
    CheckConstraint("num_nonnulls(tenant_id, domain_id, account_id) <= 1", name="owner"),
    UniqueConstraint(
        "tenant_id",
        "domain_id",
        "account_id",
        name="filter_policies_owner_key",
        postgresql_nulls_not_distinct=True,
    ),
    Index(
        "filter_policies_domain_id_idx", "domain_id", postgresql_where=text("domain_id IS NOT NULL")
    ),
    Index(
        "filter_policies_account_id_idx",
        "account_id",
        postgresql_where=text("account_id IS NOT NULL"),
    ),
)

directory_outbox = Table(
    "directory_outbox",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("subject", Text, nullable=False),  # an address, or @domain
    created(),
    # 0: interactive, 1: bulk (ADR 22)
    Column("lane", SmallInteger, nullable=False, server_default=text("0")),
    # whose turn it uses, zero if unknown; no foreign key, since the tenant may be deleted before
    # the row
    Column(
        "tenant_id",
        Uuid,
        nullable=False,
        server_default=text("'00000000-0000-0000-0000-000000000000'"),
    ),
    Index("directory_outbox_lane_tenant_id_id_idx", "lane", "tenant_id", "id"),
)
