"""The schema, as SQLAlchemy tables. Changes are Alembic migrations, in expand/contract steps.

Theory:

- Mailbox tables carry the account id first in every key, so that they can be hash-partitioned by
  account.
- A message is one row however many mailboxes refer to it; ``refs`` counts the entries, and the
  deleted ones that can be restored (``expunge``). The row outlives its last entry, so that a late
  redelivery from the stream finds the id and does nothing; its ``segment_id`` becomes null when the
  body is collected.
- ``segments.live_octets`` counts the bytes of live messages: maintained by the statements that add
  and drop entries, read by the collector.
- Locks are always taken in the order outbound_expansions, outbound_reached (by place), accounts (by
  id), mailboxes, deleted_entries, quarantine, outbound_lanes, outbound_recipients (by id),
  outbound_claims, outbound_messages, messages, segments (each by id), throttles (by key), aliases
  (by id), throttles of long senders (by key), long_senders (by domain and token),
  outbound_destinations (by name), received_reports, dmarc_evaluations (by key), classifications,
  bayes_models (by id).
- ``mailbox_changes`` has rows for every modseq that a mailbox went through: a statement that adds
  to ``mailboxes.modseq`` adds one, adds one to ``counted_modseq``, maintains the counters and writes
  the rows (ADR 33). A modseq without rows means that the history is not known.
- Rows that change with every delivery (accounts, mailboxes, leases) leave room on their page
  (fillfactor), so that an update touches no index.
- Every change of a directory entry writes the address or ``@domain`` to ``directory_outbox`` in the
  same transaction.
"""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Float,
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
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import CIDR, INT8MULTIRANGE, JSONB

from posthorn.adapters.postgres.schema import DEFAULT_TENANT as DEFAULT_TENANT
from posthorn.adapters.postgres.schema import INBOX as INBOX
from posthorn.adapters.postgres.schema import SCHEMA_VERSION as SCHEMA_VERSION

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
    Column("state", Text, nullable=False, server_default=text("'active'")),
    Column("max_domains", Integer),  # null: unlimited
    Column("max_accounts", Integer),
    Column("quota_bytes", BigInteger),  # of the sum of its accounts' quotas
    Column("max_messages_per_hour", Integer),  # of all its accounts together
    Column("max_recipients_per_hour", Integer),
    Column("verify_domains", Boolean, nullable=False, server_default=text("false")),
    Column("min_password_length", Integer, nullable=False, server_default=text("8")),
    _created(),
    _updated(),
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
    _created(),
    _updated(),
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
    _created(),
    _updated(),
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

aliases = Table(
    "aliases",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("domain_id", BigInteger, ForeignKey("domains.id"), nullable=False),
    Column("address", Text, nullable=False, unique=True),  # canonical form
    Column("targets", ARRAY(Text), nullable=False),  # canonical addresses
    _created(),
    _updated(),
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
    _created(),
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
    _created(),
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
    _created(),
    PrimaryKeyConstraint("api_key_id", "key"),
    Index("idempotency_keys_created_at_idx", "created_at"),
)

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
    _created(),
    Index(
        "segments_live_idx",
        text("(live_octets::float8 / greatest(octets, 1))"),
        "created_at",
        postgresql_where=text("condemned_at IS NULL"),
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
    _created(),
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

directory_outbox = Table(
    "directory_outbox",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("subject", Text, nullable=False),  # an address, or @domain
    _created(),
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

installation = Table(
    "installation",  # one row: which installation this is (ADR 18)
    metadata,
    Column("only_row", Boolean, primary_key=True, server_default=text("true")),
    Column("id", Uuid, nullable=False),
    Column("stage", Text, nullable=False, server_default="new"),
    Column("progress_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("brakes_released_until", DateTime(timezone=True)),
    Column("scram_salt_key", LargeBinary),  # ADR 35
    CheckConstraint("only_row", name="only_row"),
    CheckConstraint("stage IN ('new', 'adopting', 'adopted')", name="stage"),
)

leaderships = Table(
    "leaderships",
    metadata,
    Column("task", Text, primary_key=True),  # collector
    Column("holder", Uuid, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
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
    _created(),
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
    _created(),
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
    _updated(),
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

throttles = Table(
    "throttles",
    metadata,
    Column("key", Text, primary_key=True),
    Column("full_at", DateTime(timezone=True), nullable=False),  # when the bucket is full again
    postgresql_with={"fillfactor": 70},
    prefixes=["UNLOGGED"],  # a crash of the server resets the counts, and has no other effect
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
    _created(),
    CheckConstraint("algorithm IN ('rsa', 'ed25519')", name="algorithm"),
    UniqueConstraint("domain_id", "selector"),
)

routes = Table(
    "routes",
    metadata,
    Column("domain", Text, primary_key=True),  # of recipients; * for all others
    Column("host", Text),
    Column("port", Integer),
    Column("tls", Text, nullable=False),
    Column("username", Text),
    Column("password", LargeBinary),  # encrypted, see runtime.secret_box
    Column("connections", Integer),
    Column("messages_per_minute", Integer),
    _created(),
    _updated(),
    CheckConstraint(
        "tls IN ('none', 'opportunistic', 'required', 'verified', 'implicit')", name="tls"
    ),
)

suppressions = Table(
    "suppressions",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False),
    Column("address", Text, nullable=False),  # canonical form
    Column("reason", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("message_id", Uuid),
    _created(),
    Column("complaint_id", Uuid),  # set: the source is a complaint
    PrimaryKeyConstraint("tenant_id", "address"),
    CheckConstraint("source IN ('bounce', 'api')", name="source"),
    Index("suppressions_domain_idx", "tenant_id", text("split_part(address, '@', -1)"), "address"),
)

mta_sts_policies = Table(
    "mta_sts_policies",
    metadata,
    Column("domain", Text, primary_key=True),
    Column("policy_id", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("hosts", ARRAY(Text), nullable=False),
    Column("fetched_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("mode IN ('none', 'testing', 'enforce')", name="mode"),
)

outbound_messages = Table(
    "outbound_messages",
    metadata,
    # it counts as one of messages.refs until ``open`` is 0
    Column("message_id", Uuid, primary_key=True),
    Column("tenant_id", Uuid),
    Column("submitter", Text, nullable=False),
    Column("smtputf8", Boolean, nullable=False),
    Column("ret", Text, nullable=False),  # RFC 3461
    Column("envid", Text, nullable=False),
    Column("signature", Text, nullable=False),  # DKIM fields
    Column("open", Integer, nullable=False),  # recipients not closed
    # relay that is sending its DSNs, so that no other does at the same time
    Column("reporter", Uuid),
    Column(
        "reporting_until",
        DateTime(timezone=True),
        nullable=False,
        server_default=text("'-infinity'"),
    ),
    _created(),
    Column(
        "client_network", Text, nullable=False, server_default=text("''")
    ),  # client of an unauthenticated sender; else empty
    CheckConstraint("open >= 0", name="open"),
    postgresql_with={"fillfactor": 80},
)

outbound_recipients = Table(
    "outbound_recipients",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("message_id", Uuid, nullable=False),
    Column("tenant_id", Uuid),
    Column("destination", Text, nullable=False),  # canonical domain
    Column("recipient", Text, nullable=False),  # the forward-path, as it was written
    Column("address", Text, nullable=False),  # the same in canonical form
    Column("sender", Text, nullable=False),  # recipient of DSNs
    Column("reverse_path", Text, nullable=False),  # reverse-path in MAIL
    Column("original", Text, nullable=False),  # the forwarding address
    Column("orcpt", Text, nullable=False),
    Column("notify", SmallInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("due_at", DateTime(timezone=True), nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("holder", Uuid),  # the relay that holds it, by a claim as the release before makes it
    Column("overdue_at", DateTime(timezone=True), nullable=False),  # the delay notice, or the end
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("last_attempt_at", DateTime(timezone=True)),
    Column("last_host", Text, nullable=False, server_default=text("''")),
    Column("last_status", Text, nullable=False, server_default=text("''")),
    Column("last_reply", Text, nullable=False, server_default=text("''")),
    Column("last_tls", Text, nullable=False, server_default=text("''")),
    Column("notice", Text),  # DSN due to the sender
    _created(),
    Column("closed_at", DateTime(timezone=True)),
    # fields that stand before the forwarded message
    Column("header", Text, nullable=False, server_default=text("''")),
    Column(
        "not_before", DateTime(timezone=True)
    ),  # deferred by a sending limit until then; only a platform key sends it earlier
    # held by the suspension of this tenant (id) or account (address)
    Column("suspended_for", Text),
    Column("suspended_at", DateTime(timezone=True)),
    CheckConstraint(
        "state IN ('queued', 'sending', 'deferred', 'held', 'delivered', 'bounced', 'cancelled')",
        name="state",
    ),
    CheckConstraint(
        "notice IN ('failed', 'delayed', 'delivered', 'relayed', 'expanded')", name="notice"
    ),
    Index(
        "outbound_recipients_due_idx",
        "destination",
        "due_at",
        "id",
        postgresql_where=text("state IN ('queued', 'deferred')"),
    ),
    # closed_at, so that no claim can be answered by it: where statistics come from an empty queue
    # it looks as good to the planner as the index above, and is a walk over everything that waits
    Index(
        "outbound_recipients_overdue_idx",
        "overdue_at",
        postgresql_where=text("state IN ('queued', 'deferred') AND closed_at IS NULL"),
    ),
    Index("outbound_recipients_holder_idx", "holder", postgresql_where=text("state = 'sending'")),
    Index(
        "outbound_recipients_notice_idx", "message_id", postgresql_where=text("notice IS NOT NULL")
    ),
    Index(
        "outbound_recipients_closed_at_idx",
        "closed_at",
        postgresql_where=text("closed_at IS NOT NULL"),
    ),
    Index("outbound_recipients_message_id_idx", "message_id", "id"),
    Index("outbound_recipients_destination_idx", "destination", "id"),
    Index("outbound_recipients_address_idx", "address", "id"),
    Index("outbound_recipients_sender_idx", text("lower(sender)"), "id"),
    Index("outbound_recipients_tenant_id_idx", "tenant_id", "id"),
    Index("outbound_recipients_state_idx", "state", "id"),
    Index(
        "outbound_recipients_suspended_for_idx",
        "suspended_for",
        "id",
        postgresql_where=text("suspended_for IS NOT NULL"),
    ),
    postgresql_with={"fillfactor": 80},
)

outbound_claims = Table(
    # recipients that a relay is sending: inserted by its claim, deleted with the outcome (ADR 38)
    "outbound_claims",
    metadata,
    Column("recipient_id", BigInteger, primary_key=True, autoincrement=False),
    Column("holder", Uuid, nullable=False),
)

outbound_expansions = Table(
    "outbound_expansions",
    metadata,
    # the row of outbound_recipients of the alias; held meanwhile
    Column("recipient_id", BigInteger, primary_key=True, autoincrement=False),
    Column("message_id", Uuid, nullable=False),
    Column("tenant_id", Uuid, nullable=False),  # whose alias it is: tenants take turns
    # a record without a body, for this recipient only
    Column("envelope", LargeBinary, nullable=False),
    # addresses up to this one are queued
    Column("done", Text, nullable=False, server_default=text("''")),
    Column("accounts", Integer, nullable=False, server_default=text("0")),  # queued so far
    Column("forwards", Integer, nullable=False, server_default=text("0")),
    Column("due_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    _created(),
    Index("outbound_expansions_tenant_id_idx", "tenant_id", "due_at", "recipient_id"),
    Index("outbound_expansions_message_id_idx", "message_id"),
    postgresql_with={"fillfactor": 70},
)

outbound_reached = Table(
    "outbound_reached",
    metadata,
    # destinations that a message with open expansions has reached, so that none is reached twice
    Column("message_id", Uuid, nullable=False),
    Column("place", Text, nullable=False),
    PrimaryKeyConstraint("message_id", "place"),
)

outbound_destinations = Table(
    "outbound_destinations",
    metadata,
    Column("name", Text, primary_key=True),
    Column("due_at", DateTime(timezone=True), nullable=False),  # nothing is due before
    Index("outbound_destinations_due_at_idx", "due_at"),
    postgresql_with={"fillfactor": 50},
)

long_senders = Table(
    # senders of forwarded messages that are too long for a rewritten reverse-path (ADR 27)
    "long_senders",
    metadata,
    # in the rewritten address; no foreign key, since bounces and rows may outlive a domain by some
    # days
    Column("domain", Text, nullable=False),
    Column("token", Text, nullable=False),
    Column("sender", Text, nullable=False),  # as it was written
    Column("used_on", Date, nullable=False),  # day (UTC) of the last address made
    PrimaryKeyConstraint("domain", "token"),
    Index("long_senders_used_on_idx", "used_on"),
)

outbound_lanes = Table(
    "outbound_lanes",
    metadata,
    Column("key", Text, primary_key=True),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column(
        "closed_until", DateTime(timezone=True), nullable=False, server_default=text("'-infinity'")
    ),
    Column("full_at", DateTime(timezone=True), nullable=False, server_default=text("'-infinity'")),
    Column("last_host", Text, nullable=False, server_default=text("''")),
    Column("last_reply", Text, nullable=False, server_default=text("''")),
    Index("outbound_lanes_closed_until_idx", "closed_until"),
    postgresql_with={"fillfactor": 50},
)

outbound_slots = Table(
    "outbound_slots",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("lane", Text, nullable=False),
    Column("relay", Uuid, nullable=False),
    Index("outbound_slots_lane_idx", "lane"),
    Index("outbound_slots_relay_idx", "relay"),
)

relays = Table(
    "relays",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("alive_until", DateTime(timezone=True), nullable=False),
    Column("buried_at", DateTime(timezone=True)),  # dead or stopped: its id is never used again
    # it knows of outbound_claims; the release before does not
    Column("claims_apart", Boolean, nullable=False, server_default=text("false")),
    postgresql_with={"fillfactor": 50},
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

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.id")),  # null: the whole platform
    Column("url", Text, nullable=False),
    Column("secret", LargeBinary, nullable=False),  # encrypted, see runtime.secret_box
    Column("events", ARRAY(Text), nullable=False),
    Column("domain", Text),  # null: of all domains
    Column("state", Text, nullable=False, server_default=text("'active'")),
    _created(),
    _updated(),
    CheckConstraint("state IN ('active', 'paused', 'failing')", name="state"),
    Index("webhooks_tenant_id_idx", "tenant_id", "id"),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", Uuid, primary_key=True),  # UUIDv7
    Column("webhook_id", Uuid, ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
    Column("event", JSONB, nullable=False),
    Column("event_type", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'waiting'")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("due_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("last_status", Integer),  # of HTTP; null: no answer yet, or none
    Column("last_reply", Text, nullable=False, server_default=text("''")),
    _created(),
    Column("closed_at", DateTime(timezone=True)),
    CheckConstraint("state IN ('waiting', 'delivered', 'failed')", name="state"),
    Index("webhook_deliveries_due_idx", "due_at", postgresql_where=text("state = 'waiting'")),
    Index("webhook_deliveries_webhook_id_idx", "webhook_id", "id"),
    Index(
        "webhook_deliveries_waiting_idx",
        "webhook_id",
        "due_at",
        postgresql_where=text("state = 'waiting'"),
    ),
    Index(
        "webhook_deliveries_closed_at_idx",
        "closed_at",
        postgresql_where=text("closed_at IS NOT NULL"),
    ),
    postgresql_with={"fillfactor": 80},
)

statistics = Table(
    "statistics",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("domain", Text, nullable=False),
    Column("hour", DateTime(timezone=True), nullable=False),
    Column("outcome", Text, nullable=False),
    Column("messages", BigInteger, nullable=False, server_default=text("0")),
    Column("octets", BigInteger, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("tenant_id", "domain", "hour", "outcome"),
    Index("statistics_hour_idx", "hour"),
    postgresql_with={"fillfactor": 70},
)

message_index = Table(
    # what ``ports.message_index`` describes; a nil tenant_id: of no tenant
    "message_index",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("message_id", Uuid, nullable=False),
    Column("recipient", Text, nullable=False),  # canonical
    Column("direction", Text, nullable=False),
    Column("reverse_path", Text, nullable=False),
    Column("author", Text, nullable=False),  # canonical
    Column("subject", Text, nullable=False),  # decoded
    Column("header_id", Text, nullable=False),  # the Message-ID field
    Column("size_bytes", BigInteger, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("kind", Text, nullable=False),  # of the event with the outcome
    Column("changed_at", DateTime(timezone=True), nullable=False),  # time of that event
    Column("detail", JSONB, nullable=False),
    Column("targets", ARRAY(Text), nullable=False),  # where an alias sent it on
    Column("terms", ARRAY(Text), nullable=False),  # as model.search_terms has them
    PrimaryKeyConstraint("tenant_id", "message_id", "recipient"),
    Index("message_index_message_id_idx", "message_id"),
    Index("message_index_terms_idx", "terms", postgresql_using="gin"),
    Index(
        "message_index_outcome_idx",
        "outcome",
        "message_id",
        postgresql_where=text("outcome <> 'delivered' AND outcome <> 'relayed'"),
    ),
    Index(
        "message_index_tenant_outcome_idx",
        "tenant_id",
        "outcome",
        "message_id",
        postgresql_where=text("outcome <> 'delivered' AND outcome <> 'relayed'"),
    ),
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

filter_policies = Table(
    # of an account, a domain or a tenant; of the system, if all three are null
    "filter_policies",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.id", ondelete="CASCADE")),
    Column("domain_id", BigInteger, ForeignKey("domains.id", ondelete="CASCADE")),
    Column("account_id", BigInteger, ForeignKey("accounts.id", ondelete="CASCADE")),
    Column("document", JSONB, nullable=False),  # as model.filter_policy checks it
    _updated(),
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
    _created(),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("message_id", "recipient", "account_id", postgresql_nulls_not_distinct=True),
    Index("quarantine_account_id_idx", "account_id", "id"),
    Index("quarantine_tenant_id_idx", "tenant_id", "id"),
    Index("quarantine_expires_at_idx", "expires_at"),
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
    _updated(),
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
    _created(),
    PrimaryKeyConstraint("account_id", "message_id"),
    CheckConstraint(
        "wanted IN ('spam', 'ham', 'none') AND taught IN ('spam', 'ham', 'none')", name="words"
    ),
    Index("classifications_due_at_idx", "due_at", postgresql_where=text("due_at IS NOT NULL")),
    Index("classifications_created_at_idx", "created_at"),
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
received_reports = Table(
    # automatic reports that mailboxes received, once for each tenant, to be read by a worker
    "received_reports",
    metadata,
    Column("message_id", Uuid, nullable=False),
    Column("tenant_id", Uuid, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    Column("kind", Text, nullable=False),  # as model.verdict.ReportKind
    # domain that the message is shown to be from (DMARC); empty: it is not believed
    Column("author", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'waiting'")),
    Column("domain", Text, nullable=False, server_default=text("''")),  # that it is about
    Column("report_id", Text, nullable=False, server_default=text("''")),
    Column("detail", Text, nullable=False, server_default=text("''")),  # why it failed
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("due_at", DateTime(timezone=True), server_default=func.now()),  # null: it is done
    _created(),
    PrimaryKeyConstraint("message_id", "tenant_id"),
    CheckConstraint(
        "kind IN ('dmarc', 'tls', 'abuse') AND state IN ('waiting', 'read', 'duplicate', 'failed')",
        name="words",
    ),
    Index("received_reports_due_at_idx", "due_at", postgresql_where=text("due_at IS NOT NULL")),
    Index("received_reports_created_at_idx", "created_at"),
    Index("received_reports_tenant_id_idx", "tenant_id", "created_at"),
    Index(
        "received_reports_report_id_idx",
        "tenant_id",
        "kind",
        "author",
        "domain",
        "report_id",
        unique=True,
        postgresql_where=text("state = 'read' AND report_id <> ''"),
    ),
)

dmarc_report_sources = Table(
    # what DMARC reports say of mail in the name of a domain
    "dmarc_report_sources",
    metadata,
    Column("domain_id", BigInteger, ForeignKey("domains.id", ondelete="CASCADE"), nullable=False),
    Column("day", Date, nullable=False),
    Column("reporter", Text, nullable=False),  # empty, like source: the rest beyond the limit
    Column("is_believed", Boolean, nullable=False),
    Column("source", Text, nullable=False),  # IP address
    Column("disposition", Text, nullable=False),
    Column("dkim_aligned", Boolean, nullable=False),
    Column("spf_aligned", Boolean, nullable=False),
    Column("messages", BigInteger, nullable=False),
    PrimaryKeyConstraint(
        "domain_id",
        "day",
        "reporter",
        "is_believed",
        "source",
        "disposition",
        "dkim_aligned",
        "spf_aligned",
    ),
    Index("dmarc_report_sources_day_idx", "day"),
)

tls_report_results = Table(
    # what TLS reports say of connections to a domain's hosts
    "tls_report_results",
    metadata,
    Column("domain_id", BigInteger, ForeignKey("domains.id", ondelete="CASCADE"), nullable=False),
    Column("day", Date, nullable=False),
    Column("reporter", Text, nullable=False),
    Column("is_believed", Boolean, nullable=False),
    Column("policy_type", Text, nullable=False),
    Column("result_type", Text, nullable=False),  # empty: success
    Column("receiving_host", Text, nullable=False),
    Column("sessions", BigInteger, nullable=False),
    PrimaryKeyConstraint(
        "domain_id",
        "day",
        "reporter",
        "is_believed",
        "policy_type",
        "result_type",
        "receiving_host",
    ),
    Index("tls_report_results_day_idx", "day"),
)

complaints = Table(
    # feedback reports (ARF): recipients that did not want a message
    "complaints",
    metadata,
    Column("id", Uuid, primary_key=True),  # that of the message with the report
    Column("tenant_id", Uuid, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    Column("message_id", Uuid),  # that was complained of; null: it is not known
    Column("recipient", Text, nullable=False),
    Column("domain", Text, nullable=False),  # of the sender
    Column("feedback_type", Text, nullable=False),
    Column("reporter", Text, nullable=False),
    Column("is_believed", Boolean, nullable=False),
    Column("is_suppressed", Boolean, nullable=False),  # the recipient was put on the list
    _created(),
    Index("complaints_tenant_id_idx", "tenant_id", "id"),
    Index("complaints_created_at_idx", "created_at"),
)

dmarc_evaluations = Table(
    # what DMARC found of mail received, for the reports to the domains' owners
    "dmarc_evaluations",
    metadata,
    Column("day", Date, nullable=False),  # UTC
    Column("domain", Text, nullable=False),  # whose record was used
    Column("shard", SmallInteger, nullable=False),  # so that writers seldom wait for each other
    Column("digest", LargeBinary, nullable=False),  # of record and facts
    Column("record", Text, nullable=False),
    Column("facts", JSONB, nullable=False),  # as model.dmarc_evaluation encodes them
    Column("messages", BigInteger, nullable=False),
    PrimaryKeyConstraint("day", "domain", "shard", "digest"),
    postgresql_with={"fillfactor": 80},
)

tls_outcomes = Table(
    # how connections of the relays to other hosts were secured, for TLS reports
    "tls_outcomes",
    metadata,
    Column("day", Date, nullable=False),  # UTC
    Column("domain", Text, nullable=False),  # destination
    Column("policy_type", Text, nullable=False),  # RFC 8460 §4.3
    Column("result_type", Text, nullable=False),  # empty: success
    Column("receiving_host", Text, nullable=False),
    Column("sessions", BigInteger, nullable=False),
    PrimaryKeyConstraint("day", "domain", "policy_type", "result_type", "receiving_host"),
    postgresql_with={"fillfactor": 80},
)

sent_reports = Table(
    # what was done about a day's report to one address
    "sent_reports",
    metadata,
    Column("day", Date, nullable=False),
    Column("kind", Text, nullable=False),
    Column("domain", Text, nullable=False),
    Column("destination", Text, nullable=False),
    Column("outcome", Text, nullable=False),  # sent, or why not
    Column("message_id", Uuid),
    _created(),
    PrimaryKeyConstraint("day", "kind", "domain", "destination"),
)
