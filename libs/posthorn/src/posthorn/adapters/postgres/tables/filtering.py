"""Tables of withheld and classified mail, and of what classifying learns from."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)

from posthorn.adapters.postgres.tables.columns import created, metadata, updated

quarantine = Table(
    # copies of messages that were withheld; each counts as one of messages.refs until it is gone
    "quarantine",
    metadata,
    Column("id", Uuid, primary_key=True),  # UUIDv7
    Column("message_id", Uuid, nullable=False),
    Column("tenant_id", Uuid, nullable=False),
    # null: the copy of an alias that leads elsewhere
    Column("account_id", BigInteger, ForeignKey("accounts.id", ondelete="CASCADE")),
    # as the sender addressed it, canonical; of the copy of an alias, the alias
    Column("recipient", Text, nullable=False),
    Column("reason", Text, nullable=False),  # as model.filter_decision.Decision
    Column("detail", Text, nullable=False),
    Column("score", Float, nullable=False),
    Column("envelope", LargeBinary, nullable=False),  # as model.withheld encodes it
    Column("size_crlf", BigInteger, nullable=False),
    created(),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("message_id", "recipient", "account_id", postgresql_nulls_not_distinct=True),
    Index("quarantine_account_id_idx", "account_id", "id"),
    Index("quarantine_tenant_id_idx", "tenant_id", "id"),
    Index("quarantine_expires_at_idx", "expires_at"),
)

digests = Table(
    # up to where Junk and quarantine were listed in the last digest
    "digests",
    metadata,
    Column(
        "account_id", BigInteger, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True
    ),
    Column("sent_at", DateTime(timezone=True), nullable=False),
    Column("junk_uid", BigInteger, nullable=False, server_default=text("0")),
    Column("quarantine_id", Uuid),
    postgresql_with={"fillfactor": 80},
)

correspondents = Table(
    "correspondents",
    metadata,
    Column("account_id", BigInteger, ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    Column("address", Text, nullable=False),  # canonical
    Column("written_at", DateTime(timezone=True), nullable=False),  # exact to a day
    PrimaryKeyConstraint("account_id", "address"),
    postgresql_with={"fillfactor": 80},
)

bayes_models = Table(
    # what a tenant, or one of its accounts, was taught
    "bayes_models",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    Column("account_id", BigInteger, ForeignKey("accounts.id", ondelete="CASCADE")),
    Column("version", BigInteger, nullable=False, server_default=text("1")),
    Column("spam_messages", Integer, nullable=False, server_default=text("0")),
    Column("ham_messages", Integer, nullable=False, server_default=text("0")),
    Column("tokens", LargeBinary, nullable=False),  # compressed; bounded
    updated(),
    UniqueConstraint("tenant_id", "account_id", postgresql_nulls_not_distinct=True),
    Index(
        "bayes_models_account_id_idx", "account_id", postgresql_where=text("account_id IS NOT NULL")
    ),
)

classifications = Table(
    # what an owner said of a message, and what of that was taught
    "classifications",
    metadata,
    Column("account_id", BigInteger, ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    Column("message_id", Uuid, nullable=False),
    Column("wanted", Text, nullable=False),  # none: it is to be taken back
    Column("taught", Text, nullable=False, server_default=text("'none'")),
    Column("tokens", LargeBinary),  # what was taught, to take it back
    Column("due_at", DateTime(timezone=True), server_default=func.now()),  # null: it is done
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    created(),
    PrimaryKeyConstraint("account_id", "message_id"),
    CheckConstraint(
        "wanted IN ('spam', 'ham', 'none') AND taught IN ('spam', 'ham', 'none')", name="words"
    ),
    Index("classifications_due_at_idx", "due_at", postgresql_where=text("due_at IS NOT NULL")),
    Index("classifications_created_at_idx", "created_at"),
)
