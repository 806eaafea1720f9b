"""Claims of the outbound queue, apart from the recipients' rows (ADR 38)."""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

# While a relay of the release before is there, everybody claims in the recipients' rows as it does;
# claims made there stay valid, so nothing is moved. The trigger keeps that release's statements from
# claiming, holding, cancelling or expiring what was claimed in outbound_claims before it came, as
# after a rollback; a claim of a relay that is known to be dead does not count, since that release
# cannot release it. The index of what is overdue names closed_at, so that the planner cannot take it
# for a claim: while it is built (a second for a million recipients) the queue waits, and the release
# before sweeps by the index of what is due.
_STATEMENTS = (
    """
    CREATE TABLE outbound_claims (
        recipient_id bigint NOT NULL,
        holder uuid NOT NULL,
        CONSTRAINT outbound_claims_pkey PRIMARY KEY (recipient_id)
    )
    """,
    """
    CREATE FUNCTION outbound_recipients_claimed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    BEGIN
        DELETE FROM outbound_claims c
         WHERE c.recipient_id = OLD.id
           AND NOT EXISTS (SELECT FROM relays a WHERE a.id = c.holder AND a.buried_at IS NULL);
        IF EXISTS (SELECT FROM outbound_claims c WHERE c.recipient_id = OLD.id) THEN
            RETURN NULL;
        END IF;
        RETURN NEW;
    END
    $$
    """,
    """
    CREATE TRIGGER outbound_recipients_claimed BEFORE UPDATE OF state ON outbound_recipients
    FOR EACH ROW WHEN (
        OLD.state IN ('queued', 'deferred') AND NEW.state <> OLD.state AND NEW.attempts = OLD.attempts
    )
    EXECUTE FUNCTION outbound_recipients_claimed()
    """,
    "ALTER TABLE relays ADD COLUMN claims_apart boolean NOT NULL DEFAULT false",
    "DROP INDEX outbound_recipients_overdue_idx",
    """
    CREATE INDEX outbound_recipients_overdue_idx ON outbound_recipients (overdue_at)
     WHERE state IN ('queued', 'deferred') AND closed_at IS NULL
    """,
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
