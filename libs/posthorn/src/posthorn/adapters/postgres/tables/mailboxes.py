"""Tables of stored mail: mailboxes, messages, and the segments that hold their bodies."""

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
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import INT8MULTIRANGE, JSONB

from posthorn.adapters.postgres.tables.columns import created, metadata

mailboxes = Table(
    "mailboxes",
    metadata,
    Column("account_id", BigInteger, ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    # 1 INBOX, 2 Junk, 3 Sent, 4 Trash, then others
    Column("mailbox_id", Integer, nullable=False),
    Column("name", Text, nullable=False),
    # RFC 6154: inbox, junk, sent, trash, drafts, archive; each once in an account
    Column("role", Text),
    Column("uidvalidity", BigInteger, nullable=False),
    Column("uidnext", BigInteger, nullable=False, server_default=text("1")),
    # RFC 7162 HIGHESTMODSEQ
    Column("modseq", BigInteger, nullable=False, server_default=text("1")),
    # the counters are right if this equals modseq; else they must be counted again
    Column("counted_modseq", BigInteger, nullable=False, server_default=text("0")),
    Column("messages", BigInteger, nullable=False, server_default=text("0")),
    Column("unseen", BigInteger, nullable=False, server_default=text("0")),
    Column("deleted", BigInteger, nullable=False, server_default=text("0")),  # with \\Deleted
    Column("octets", BigInteger, nullable=False, server_default=text("0")),
    # every keyword that a message of it has had; bounded
    Column("keywords", ARRAY(Text), nullable=False, server_default=text("'{}'")),
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
    Column("live_octets", BigInteger, nullable=False),  # stored bytes of messages with refs > 0
    # no references; the blob is deleted after the grace period
    Column("condemned_at", DateTime(timezone=True)),
    created(),
    Index(
        "segments_live_idx",
        text("(live_octets::float8 / greatest(octets, 1))"),
        "created_at",
        postgresql_where=text("condemned_at IS NULL"),
    ),
    Index(
        "segments_partly_live_idx",
        "created_at",
        "id",
        postgresql_where=text("condemned_at IS NULL AND live_octets < octets"),
    ),
    Index(
        "segments_condemned_at_idx",
        "condemned_at",
        postgresql_where=text("condemned_at IS NOT NULL"),
    ),
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
    # how late a redelivery may be counts from delivery, not from receipt: the row is kept by this
    Column("placed_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("reverse_path", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("from_", Text, nullable=False),
    Column("date", Text, nullable=False),
    Column("message_id", Text, nullable=False),  # the Message-ID field
    Column("verdict", JSONB),  # as model.verdict encodes it; null: not scanned
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
    # no foreign keys: deliver() and commit() maintain messages.refs under locks, and a key to
    # messages would want an index led by the message for every deletion, one to mailboxes a look-up
    # per entry while deliver() holds that row anyway
    Column("message_id", Uuid, nullable=False),
    Column("size_crlf", BigInteger, nullable=False),
    Column(
        "flags", Integer, nullable=False, server_default=text("0")
    ),  # 1 seen 2 answered 4 flagged 8 deleted 16 draft
    Column("keywords", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("internal_date", DateTime(timezone=True), nullable=False),
    Column("modseq", BigInteger, nullable=False, server_default=text("1")),
    # RFC 8514; null: made before schema 0016
    Column("saved_at", DateTime(timezone=True), server_default=func.now()),
    PrimaryKeyConstraint("account_id", "mailbox_id", "uid"),
    Index("mailbox_entries_account_id_message_id_idx", "account_id", "message_id"),
    postgresql_with={"fillfactor": 80},
)

mailbox_changes = Table(
    # what each modseq of a mailbox was; pruned by age and number
    "mailbox_changes",
    metadata,
    Column("account_id", BigInteger, nullable=False),
    Column("mailbox_id", Integer, nullable=False),
    Column("modseq", BigInteger, nullable=False),
    Column("kind", SmallInteger, nullable=False),  # as ports.mailbox_view.ChangeKind
    Column("uids", INT8MULTIRANGE, nullable=False),
    created(),
    PrimaryKeyConstraint("account_id", "mailbox_id", "modseq", "kind"),
    # no foreign key, like entries: deleted with the mailbox or the account by the same statements
    Index("mailbox_changes_created_at_idx", "created_at", postgresql_using="brin"),
)

mailbox_subscriptions = Table(
    "mailbox_subscriptions",
    metadata,
    Column("account_id", BigInteger, ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),  # there need not be such a mailbox (RFC 9051 §6.3.7)
    PrimaryKeyConstraint("account_id", "name"),
)

message_headers = Table(
    # header of a message, so that a listing reads no blob; a missing one is read from the body.
    # No foreign keys here and below: deleted with the message by the same statement.
    "message_headers",
    metadata,
    Column("message_id", Uuid, primary_key=True),
    Column("header", LargeBinary, nullable=False),  # one zstd frame; up to the empty line, included
)

message_structures = Table(
    # what IMAP made of a message at first use
    "message_structures",
    metadata,
    Column("message_id", Uuid, primary_key=True),
    # as wire.message.mime_encoding.VERSION and of the envelope; another one counts as missing
    Column("version", SmallInteger, nullable=False),
    Column("envelope", LargeBinary),  # as wire.imap.structure formats it, not in UTF-8 mode
    Column("structure", LargeBinary),  # as wire.message.mime_encoding encodes it
    postgresql_with={"fillfactor": 80},
)

maildrop_leases = Table(
    "maildrop_leases",
    metadata,
    Column(
        "account_id", BigInteger, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True
    ),
    Column("holder", Uuid, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    # a login with the account's own password may take over such a lease
    Column("by_app_password", Boolean, nullable=False, server_default=text("false")),
    postgresql_with={"fillfactor": 50},
    # a login must not wait for the disk; a crash of the server loses every lease, which its holder
    # finds at the next renewal
    prefixes=["UNLOGGED"],
)

unique_ids = Table(
    # of messages in the INBOX, from the POP3 server that they moved from
    "unique_ids",
    metadata,
    Column("account_id", BigInteger, ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    Column("uid", BigInteger, nullable=False),
    Column("unique_id", Text, nullable=False),
    PrimaryKeyConstraint("account_id", "uid"),
    UniqueConstraint("account_id", "unique_id"),
    CheckConstraint(r"unique_id ~ '^[\x21-\x7e]{1,70}$'", name="unique_id"),
)

pop3_logins = Table(
    # accounts that are read by POP3, which shows no Junk
    "pop3_logins",
    metadata,
    Column(
        "account_id", BigInteger, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True
    ),
    Column("seen_on", Date, nullable=False),
    postgresql_with={"fillfactor": 80},
)

deleted_entries = Table(
    "deleted_entries",
    metadata,
    Column("account_id", BigInteger, nullable=False),
    Column("message_id", Uuid, nullable=False),  # it counts as one of messages.refs, like an entry
    Column("mailbox_id", Integer, nullable=False),
    Column("size_crlf", BigInteger, nullable=False),
    Column("flags", Integer, nullable=False, server_default=text("0")),
    Column("keywords", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("internal_date", DateTime(timezone=True), nullable=False),
    Column("deleted_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    PrimaryKeyConstraint("account_id", "message_id", "mailbox_id", "deleted_at"),
    Index("deleted_entries_deleted_at_idx", "deleted_at"),
)
