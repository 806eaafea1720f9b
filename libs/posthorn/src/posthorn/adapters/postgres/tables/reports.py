"""Tables of DMARC, TLS and abuse reports, received and sent."""

from __future__ import annotations

from sqlalchemy import (
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
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from posthorn.adapters.postgres.tables.columns import created, metadata

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
    created(),
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
    created(),
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
    created(),
    PrimaryKeyConstraint("day", "kind", "domain", "destination"),
)
