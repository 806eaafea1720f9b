"""Tables of outbound mail: its queue, where it goes, and the relays that send it."""

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
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    func,
    text,
)

from posthorn.adapters.postgres.tables.columns import created, metadata, updated

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
    created(),
    updated(),
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
    created(),
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
    created(),
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
    created(),
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
    created(),
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
