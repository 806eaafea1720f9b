"""What is noted for reports: by delivery, in the transaction that delivers a batch, the automatic
reports that mailboxes received, and what DMARC found of mail whose domain asks for reports; by the
reader of events, what DMARC found of mail that was refused.

At most one statement for each, and none for a batch without such messages. A domain and day has at
most ``MOST_ROWS`` different rows; further ones are not counted, so that nobody fills the table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from posthorn.adapters.postgres.database import Connection, clean_text
from posthorn.model.dmarc_evaluation import DmarcEvaluation, evaluation_of
from posthorn.ports.segments import SegmentMessage

MOST_ROWS = 2000
_SHARDS = 4

_NOTE_REPORTS = """
INSERT INTO received_reports (message_id, tenant_id, kind, author)
SELECT DISTINCT report.message_id, d.tenant_id, report.kind, report.author
  FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[]) AS report (message_id, account_id, kind, author)
  JOIN accounts a ON a.id = report.account_id
  JOIN domains d ON d.id = a.domain_id
 ORDER BY report.message_id, d.tenant_id
ON CONFLICT DO NOTHING
"""
_COUNT = f"""
WITH today AS MATERIALIZED (
    SELECT (now() AT TIME ZONE 'UTC')::date AS day, (pg_backend_pid() % {_SHARDS})::smallint AS shard
), full_domains AS MATERIALIZED (
    SELECT named.domain FROM (SELECT DISTINCT unnest($1::text[]) AS domain) AS named, today
     WHERE EXISTS (
         SELECT FROM dmarc_evaluations e WHERE e.day = today.day AND e.domain = named.domain OFFSET {MOST_ROWS - 1}
     )
)
INSERT INTO dmarc_evaluations AS e (day, domain, shard, digest, record, facts, messages)
SELECT today.day, found.domain, today.shard, found.digest, found.record, found.facts::jsonb, found.messages
  FROM unnest($1::text[], $2::bytea[], $3::text[], $4::text[], $5::bigint[])
       AS found (domain, digest, record, facts, messages), today
 WHERE found.domain NOT IN (SELECT domain FROM full_domains)
    OR EXISTS (
        SELECT FROM dmarc_evaluations k
         WHERE k.day = today.day AND k.domain = found.domain AND k.shard = today.shard AND k.digest = found.digest
    )
 ORDER BY found.domain, found.digest
ON CONFLICT (day, domain, shard, digest) DO UPDATE SET messages = e.messages + excluded.messages
"""


async def note_reports(
    connection: Connection, messages: Sequence[SegmentMessage], *, counts_dmarc: bool
) -> None:
    """Note what new messages mean for reports. To be called last in a transaction."""
    received = [
        (
            message.envelope.id,
            account,
            verdict.report.value,
            clean_text(verdict.authentication.author),
        )
        for message in messages
        if (verdict := message.envelope.verdict) is not None and verdict.report is not None
        for account in dict.fromkeys(message.accounts)
    ]
    if received:
        await connection.execute(_NOTE_REPORTS, *zip(*received, strict=True))
    if not counts_dmarc:
        return
    await count_evaluations(
        connection,
        Counter(
            found for message in messages if (found := evaluation_of(message.envelope)) is not None
        ),
    )


async def count_evaluations(connection: Connection, counts: Mapping[DmarcEvaluation, int]) -> None:
    """Add numbers of messages to those of today."""
    if counts:
        rows = [
            (
                clean_text(each.domain),
                each.digest,
                clean_text(each.record),
                each.facts,
                number,
            )
            for each, number in counts.items()
        ]
        await connection.execute(_COUNT, *zip(*rows, strict=True))
