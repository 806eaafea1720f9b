"""The schema, as SQLAlchemy tables. Changes are Alembic migrations beside it, in expand/contract steps.

Theory:

- Mailbox tables carry the account id first in every key, so that they can be hash-partitioned by account.
- A message is one row however many mailboxes refer to it; ``refs`` counts the entries. The row outlives its last entry, so that a
  late redelivery from the stream finds the id and does nothing; its ``segment_id`` becomes null when the octets are collected.
- ``segments.live_octets`` is what is still referred to: kept by the statements that add and drop entries, read by the collector.
- Locks are always taken in the order accounts (by id), mailboxes, messages (by id), segments (by id).
- Rows that change with every delivery (accounts, mailboxes, leases) leave room on their page, so that an update touches no index.
- Whatever changes what the directory must say writes the address or ``@domain`` to ``directory_outbox`` in the same transaction.
"""

from __future__ import annotations

from uuid import UUID

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
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    func,
    text,
)

SCHEMA_VERSION = "0001"
"""The Alembic revision this code needs; services refuse to become ready on another."""

DEFAULT_TENANT = UUID("00000000-0000-7000-8000-000000000001")
"""The tenant ``default``, made by the first migration: what a platform admin makes without a tenant belongs to it."""

INBOX = 1
"""``mailbox_id`` of the INBOX in every account; Junk is 2, Sent 3, Trash 4."""

metadata = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    }
)


def _created() -> Column[object]:
    return Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now())


def _updated() -> Column[object]:
    return Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now())


tenants = Table(
    "tenants",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    _created(),
)

domains = Table(
    "domains",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False, index=True),
    Column("name", Text, nullable=False, unique=True),  # canonical (A-label) form
    Column("catch_all", Text),  # canonical address
    Column("plus_addressing", Boolean, nullable=False, server_default=text("true")),
    _created(),
    _updated(),
)

accounts = Table(
    "accounts",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("domain_id", BigInteger, ForeignKey("domains.id"), nullable=False, index=True),
    Column("address", Text, nullable=False, unique=True),  # canonical form
    Column("password_hash", Text, nullable=False),
    Column("quota_bytes", BigInteger),  # null: unlimited
    Column("used_bytes", BigInteger, nullable=False, server_default=text("0")),
    Column("used_messages", BigInteger, nullable=False, server_default=text("0")),
    Column("state", Text, nullable=False, server_default=text("'active'")),
    _created(),
    _updated(),
    CheckConstraint("state IN ('active', 'suspended', 'receive-only')", name="state"),
    CheckConstraint("used_bytes >= 0 AND used_messages >= 0", name="used"),
    postgresql_with={"fillfactor": 70},
)

aliases = Table(
    "aliases",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("domain_id", BigInteger, ForeignKey("domains.id"), nullable=False, index=True),
    Column("address", Text, nullable=False, unique=True),  # canonical form
    Column("targets", ARRAY(Text), nullable=False),  # canonical addresses
    _created(),
    _updated(),
    Index("aliases_targets_idx", "targets", postgresql_using="gin"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.id")),  # null: the whole platform
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("key_hash", LargeBinary, nullable=False, unique=True),  # SHA-256 of a key of 256 random bits
    _created(),
    CheckConstraint("role IN ('platform-admin', 'tenant-admin', 'read-only', 'send-only')", name="role"),
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
    _created(),
    PrimaryKeyConstraint("api_key_id", "key"),
    Index("idempotency_keys_created_at_idx", "created_at"),
)

mailboxes = Table(
    "mailboxes",
    metadata,
    Column("account_id", BigInteger, ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    Column("mailbox_id", Integer, nullable=False),  # 1 INBOX, 2 Junk, 3 Sent, 4 Trash, then the user's own
    Column("name", Text, nullable=False),
    Column("role", Text),  # RFC 6154: inbox, junk, sent, trash
    Column("uidvalidity", BigInteger, nullable=False),
    Column("uidnext", BigInteger, nullable=False, server_default=text("1")),
    Column("modseq", BigInteger, nullable=False, server_default=text("1")),  # RFC 7162 HIGHESTMODSEQ
    PrimaryKeyConstraint("account_id", "mailbox_id"),
    Index("mailboxes_account_id_name_key", "account_id", "name", unique=True),
    postgresql_with={"fillfactor": 70},
)

segments = Table(
    "segments",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("octets", BigInteger, nullable=False),
    Column("live_octets", BigInteger, nullable=False),  # stored octets of messages with refs > 0
    Column("condemned_at", DateTime(timezone=True)),  # nothing points here any more; the blob goes after a while
    _created(),
    Index(
        "segments_live_idx",
        text("(live_octets::float8 / greatest(octets, 1))"),
        "created_at",
        postgresql_where=text("condemned_at IS NULL"),
    ),
    Index("segments_condemned_at_idx", "condemned_at", postgresql_where=text("condemned_at IS NOT NULL")),
)

messages = Table(
    "messages",
    metadata,
    Column("id", Uuid, primary_key=True),  # UUIDv7, the Nats-Msg-Id
    Column("segment_id", Uuid, ForeignKey("segments.id", ondelete="SET NULL")),
    Column("offset_octets", BigInteger, nullable=False),
    Column("stored_octets", BigInteger, nullable=False),
    Column("encoding", Text, nullable=False),
    Column("size_crlf", BigInteger, nullable=False),
    Column("has_dot_lines", Boolean, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    Column("return_path_octets", Integer, nullable=False),
    Column("refs", Integer, nullable=False),
    Column("received_at", DateTime(timezone=True), nullable=False),
    # a redelivery can come this long after placing, not after receipt: the row is kept by this
    Column("placed_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("reverse_path", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("from_", Text, nullable=False),
    Column("date", Text, nullable=False),
    Column("message_id", Text, nullable=False),  # the Message-ID field
    CheckConstraint("refs >= 0", name="refs"),
    Index("messages_segment_id_idx", "segment_id", "offset_octets"),
    Index("messages_unreferenced_idx", "placed_at", postgresql_where=text("refs = 0")),
)

mailbox_entries = Table(
    "mailbox_entries",
    metadata,
    Column("account_id", BigInteger, nullable=False),
    Column("mailbox_id", Integer, nullable=False),
    Column("uid", BigInteger, nullable=False),
    # no foreign keys: place() and commit() keep messages.refs under locks, and a key to messages would want an index led by the
    # message for every deletion, one to mailboxes a look-up per entry while place() holds that row anyway
    Column("message_id", Uuid, nullable=False),
    Column("size_crlf", BigInteger, nullable=False),
    Column(
        "flags", Integer, nullable=False, server_default=text("0")
    ),  # 1 seen 2 answered 4 flagged 8 deleted 16 draft
    Column("keywords", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("internal_date", DateTime(timezone=True), nullable=False),
    Column("modseq", BigInteger, nullable=False, server_default=text("1")),
    PrimaryKeyConstraint("account_id", "mailbox_id", "uid"),
    Index("mailbox_entries_account_id_message_id_idx", "account_id", "message_id"),
)

maildrop_leases = Table(
    "maildrop_leases",
    metadata,
    Column("account_id", BigInteger, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("holder", Uuid, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    postgresql_with={"fillfactor": 50},
    # a login must not wait for the disk; should the server crash, every lease is lost, which its holder finds at the next renewal
    prefixes=["UNLOGGED"],
)

directory_outbox = Table(
    "directory_outbox",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("subject", Text, nullable=False),  # an address, or @domain
    _created(),
)

leaderships = Table(
    "leaderships",
    metadata,
    Column("task", Text, primary_key=True),  # collector
    Column("holder", Uuid, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
)
