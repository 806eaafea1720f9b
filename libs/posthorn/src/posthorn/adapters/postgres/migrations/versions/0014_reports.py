"""Reports: DMARC aggregates, TLS-RPT and complaints, received and sent."""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

# It only adds. The release before makes no rows of these tables and reads none.
_STATEMENTS: tuple[str, ...] = (
    "ALTER TABLE suppressions ADD COLUMN complaint_id uuid",
    """
    CREATE TABLE received_reports (
        message_id uuid NOT NULL,
        tenant_id uuid NOT NULL,
        kind text NOT NULL,
        author text NOT NULL,
        state text NOT NULL DEFAULT 'waiting',
        domain text NOT NULL DEFAULT '',
        report_id text NOT NULL DEFAULT '',
        detail text NOT NULL DEFAULT '',
        attempts integer NOT NULL DEFAULT 0,
        due_at timestamptz DEFAULT now(),
        created_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT received_reports_pkey PRIMARY KEY (message_id, tenant_id),
        CONSTRAINT received_reports_words_check CHECK (
            kind IN ('dmarc', 'tls', 'abuse') AND state IN ('waiting', 'read', 'duplicate', 'failed')
        ),
        CONSTRAINT received_reports_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX received_reports_due_at_idx ON received_reports (due_at) WHERE due_at IS NOT NULL",
    "CREATE INDEX received_reports_created_at_idx ON received_reports (created_at)",
    "CREATE INDEX received_reports_tenant_id_idx ON received_reports (tenant_id, created_at)",
    """
    CREATE UNIQUE INDEX received_reports_report_id_idx ON received_reports (tenant_id, kind, author, domain, report_id)
        WHERE state = 'read' AND report_id <> ''
    """,
    """
    CREATE TABLE dmarc_report_sources (
        domain_id bigint NOT NULL,
        day date NOT NULL,
        reporter text NOT NULL,
        is_believed boolean NOT NULL,
        source text NOT NULL,
        disposition text NOT NULL,
        dkim_aligned boolean NOT NULL,
        spf_aligned boolean NOT NULL,
        messages bigint NOT NULL,
        CONSTRAINT dmarc_report_sources_pkey
            PRIMARY KEY (domain_id, day, reporter, is_believed, source, disposition, dkim_aligned, spf_aligned),
        CONSTRAINT dmarc_report_sources_domain_id_fkey FOREIGN KEY (domain_id) REFERENCES domains (id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX dmarc_report_sources_day_idx ON dmarc_report_sources (day)",
    """
    CREATE TABLE tls_report_results (
        domain_id bigint NOT NULL,
        day date NOT NULL,
        reporter text NOT NULL,
        is_believed boolean NOT NULL,
        policy_type text NOT NULL,
        result_type text NOT NULL,
        receiving_host text NOT NULL,
        sessions bigint NOT NULL,
        CONSTRAINT tls_report_results_pkey
            PRIMARY KEY (domain_id, day, reporter, is_believed, policy_type, result_type, receiving_host),
        CONSTRAINT tls_report_results_domain_id_fkey FOREIGN KEY (domain_id) REFERENCES domains (id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX tls_report_results_day_idx ON tls_report_results (day)",
    """
    CREATE TABLE complaints (
        id uuid,
        tenant_id uuid NOT NULL,
        message_id uuid,
        recipient text NOT NULL,
        domain text NOT NULL,
        feedback_type text NOT NULL,
        reporter text NOT NULL,
        is_believed boolean NOT NULL,
        is_suppressed boolean NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT complaints_pkey PRIMARY KEY (id),
        CONSTRAINT complaints_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX complaints_tenant_id_idx ON complaints (tenant_id, id)",
    "CREATE INDEX complaints_created_at_idx ON complaints (created_at)",
    """
    CREATE TABLE dmarc_evaluations (
        day date NOT NULL,
        domain text NOT NULL,
        shard smallint NOT NULL,
        digest bytea NOT NULL,
        record text NOT NULL,
        facts jsonb NOT NULL,
        messages bigint NOT NULL,
        CONSTRAINT dmarc_evaluations_pkey PRIMARY KEY (day, domain, shard, digest)
    ) WITH (fillfactor = 80)
    """,
    """
    CREATE TABLE tls_outcomes (
        day date NOT NULL,
        domain text NOT NULL,
        policy_type text NOT NULL,
        result_type text NOT NULL,
        receiving_host text NOT NULL,
        sessions bigint NOT NULL,
        CONSTRAINT tls_outcomes_pkey PRIMARY KEY (day, domain, policy_type, result_type, receiving_host)
    ) WITH (fillfactor = 80)
    """,
    """
    CREATE TABLE sent_reports (
        day date NOT NULL,
        kind text NOT NULL,
        domain text NOT NULL,
        destination text NOT NULL,
        outcome text NOT NULL,
        message_id uuid,
        created_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT sent_reports_pkey PRIMARY KEY (day, kind, domain, destination)
    )
    """,
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
