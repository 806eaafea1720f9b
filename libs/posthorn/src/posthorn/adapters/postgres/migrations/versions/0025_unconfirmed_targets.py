"""Targets of aliases in domains that nobody has verified must confirm."""

from __future__ import annotations

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

# Such targets were entered without a row, which stands for confirmed, while every domain here counted
# as local. It only adds: the release before withholds mail for what has a row, too.
_MILLISECONDS = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
# a UUIDv7, as ids of messages are: the time in six bytes, the version in two bits of the seventh
_NEW_ID = f"""
    encode(set_bit(set_bit(
        substring(int8send({_MILLISECONDS}) FROM 3) || substring(uuid_send(gen_random_uuid()) FROM 7), 52, 1), 53, 1), 'hex')::uuid
"""
_ENTER = f"""
WITH entered AS (
    INSERT INTO alias_targets (id, alias_id, target)
    SELECT {_NEW_ID}, a.id, led.target
      FROM aliases a
      CROSS JOIN LATERAL (SELECT DISTINCT unnest(a.targets) AS target) AS led
      JOIN domains d ON d.name = split_part(led.target, '@', -1) AND d.verified_at IS NULL
    ON CONFLICT (alias_id, target) DO NOTHING
    RETURNING alias_id
)
INSERT INTO directory_outbox (subject)
SELECT address FROM aliases WHERE keeps_copy IS NULL AND id IN (SELECT alias_id FROM entered) ORDER BY id
"""


def upgrade() -> None:
    """Add rows for the targets, and publish their aliases again."""
    op.execute(_ENTER)


def downgrade() -> None:
    """Migrations go forward only."""
    raise NotImplementedError("migrations go forward only")
