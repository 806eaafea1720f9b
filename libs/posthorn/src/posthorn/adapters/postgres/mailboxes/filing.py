"""What filing reads and writes in the transactions of delivery: policies and correspondents, rows
of the quarantine.

Theory:

- Policies are read for the accounts and aliases of a batch, in one statement; where there are no
  documents it is as many look-ups by key as there are accounts.
- A quarantined copy counts as one of the references of its message. The caller counts it.
- A correspondent is written once a day at most: the day of the last message is exact enough to
  know which of too many to forget.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

import orjson

from posthorn.adapters.postgres.database import Connection, clean_text
from posthorn.model.filter_policy import DEFAULT_POLICY, FilterPolicy, merged
from posthorn.model.verdict import encode_verdict
from posthorn.model.withheld import encode_withheld
from posthorn.ports.filing import Authors, FilingFacts, OwnerPolicy
from posthorn.ports.mailboxes import Resolution
from posthorn.ports.segments import SegmentMessage
from posthorn.wire.foreign_address import canonical

MOST_CORRESPONDENTS = 20_000
"""Correspondents kept for an account; beyond, those not written to for the longest time go."""
QUARANTINE_DAYS = 30

# $1 accounts, $2 aliases, $3 and $4 accounts and authors
_FACTS = """
WITH asked AS MATERIALIZED (
    SELECT a.id AS account, a.address, a.domain_id AS domain, d.tenant_id AS tenant
      FROM unnest($1::bigint[]) AS w (id) JOIN accounts a ON a.id = w.id JOIN domains d ON d.id = a.domain_id
    UNION ALL
    SELECT NULL, a.address, a.domain_id, d.tenant_id
      FROM unnest($2::text[]) AS w (address) JOIN aliases a ON a.address = w.address JOIN domains d ON d.id = a.domain_id
)
SELECT 'owner' AS kind, account, address, domain, tenant, NULL::text AS document FROM asked
UNION ALL
SELECT 'known', c.account_id, c.address, NULL, NULL, NULL
  FROM unnest($3::bigint[], $4::text[]) AS w (account_id, address)
  JOIN correspondents c ON c.account_id = w.account_id AND c.address = w.address
UNION ALL
SELECT 'policy', p.account_id, NULL, p.domain_id, p.tenant_id, p.document::text FROM filter_policies p
 WHERE num_nonnulls(p.tenant_id, p.domain_id, p.account_id) = 0
    OR p.tenant_id = ANY (ARRAY (SELECT DISTINCT tenant FROM asked))
    OR p.domain_id = ANY (ARRAY (SELECT DISTINCT domain FROM asked))
    OR p.account_id = ANY ($1::bigint[])
"""
# a later slice of a wide alias adds what it would have sent on
_WITHHOLD = """
INSERT INTO quarantine AS q (id, message_id, tenant_id, account_id, recipient, reason, detail, score, envelope, size_crlf,
                             expires_at)
SELECT id, message_id, tenant_id, account_id, recipient, reason, detail, score, envelope, size_crlf,
       now() + make_interval(days => $11)
  FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::float8[],
              $9::bytea[], $10::bigint[])
       AS w (id, message_id, tenant_id, account_id, recipient, reason, detail, score, envelope, size_crlf)
ON CONFLICT (message_id, recipient, account_id) DO UPDATE SET envelope = q.envelope || excluded.envelope
RETURNING id
"""
_CORRESPOND = """
WITH written AS (
    INSERT INTO correspondents AS c (account_id, address, written_at)
    SELECT DISTINCT a.id, w.address, date_trunc('day', now(), 'UTC')
      FROM unnest($1::text[], $2::text[]) AS w (submitter, address) JOIN accounts a ON a.address = w.submitter
     WHERE NOT EXISTS (SELECT FROM correspondents o WHERE o.account_id = a.id AND o.address = w.address
                                                      AND o.written_at > now() - interval '1 day')
     ORDER BY 1, 2
    ON CONFLICT (account_id, address) DO UPDATE SET written_at = excluded.written_at
    RETURNING account_id, xmax = 0 AS is_new
)
SELECT DISTINCT account_id FROM written WHERE is_new
"""
_TOO_MANY = """
DELETE FROM correspondents c
 USING unnest($1::bigint[]) AS w (account_id)
 CROSS JOIN LATERAL (
     SELECT o.account_id, o.address FROM correspondents o
      WHERE o.account_id = w.account_id
        AND (SELECT count(*) FROM (SELECT FROM correspondents n WHERE n.account_id = w.account_id LIMIT $2 + 1) AS counted) > $2
      ORDER BY o.written_at DESC, o.address OFFSET $2
 ) AS old
 WHERE c.account_id = old.account_id AND c.address = old.address
"""
_OUTWARD = frozenset({"submission", "send"})


async def facts(connection: Connection, found: Resolution, authors: Authors) -> FilingFacts:
    """Return what filing must know about where the recipients in ``authors`` lead."""
    if not authors:
        return FilingFacts()
    accounts: dict[int, None] = {}
    aliases: dict[str, None] = {}
    pairs: dict[tuple[int, str], None] = {}
    for recipient, shown in authors.items():
        own = found.accounts.get(recipient, ())
        accounts |= dict.fromkeys(own)
        aliases |= {forward.alias: None for forward in found.forwards.get(recipient, ())}
        pairs |= {(account, clean_text(author)): None for account in own for author in shown}
    if not accounts and not aliases:
        return FilingFacts()
    rows = await connection.fetch(
        _FACTS,
        list(accounts),
        list(aliases),
        [account for account, _ in pairs],
        [author for _, author in pairs],
    )
    return _facts(rows)


def _facts(rows: Sequence[Any]) -> FilingFacts:
    documents = {
        (row["tenant"], row["domain"], row["account"]): json.loads(row["document"])
        for row in rows
        if row["kind"] == "policy"
    }
    above: dict[int, tuple[Any, FilterPolicy]] = {}
    accounts: dict[int, OwnerPolicy] = {}
    aliases: dict[str, OwnerPolicy] = {}
    for row in rows:
        if row["kind"] != "owner":
            continue
        tenant, domain, account = row["tenant"], row["domain"], row["account"]
        if domain not in above:
            chain = [documents.get(key) for key in _levels(tenant, domain)]
            above[domain] = chain, merged(*chain) if any(chain) else DEFAULT_POLICY
        chain, policy = above[domain]
        if own := documents.get((None, None, account)) if account is not None else None:
            policy = merged(*chain, own)
        owner = OwnerPolicy(row["address"], tenant, policy)
        if account is None:
            aliases[row["address"]] = owner
        else:
            accounts[account] = owner
    known = frozenset((row["account"], row["address"]) for row in rows if row["kind"] == "known")
    return FilingFacts(accounts, aliases, known)


def _levels(tenant: UUID, domain: int) -> tuple[tuple[UUID | None, int | None, None], ...]:
    return (None, None, None), (tenant, None, None), (None, domain, None)


def encoded_verdict(message: SegmentMessage) -> str | None:
    """Return what ``messages.verdict`` keeps: the verdict, and by account the decisions that had a
    reason (``filed``). None for a message without either."""
    verdict = message.envelope.verdict
    document: dict[str, Any] = {} if verdict is None else encode_verdict(verdict)
    if message.filed:
        document["filed"] = {
            str(account): [each.action.value, each.reason, each.score, each.detail]
            for account, each in message.filed.items()
        }
    return _jsonb(document) if document else None


def _jsonb(document: dict[str, Any]) -> str:
    """Return a document as Postgres takes it. Few hold what it does not take: text without UTF-8,
    NULs, and numbers that are not finite, which orjson writes as null."""
    with suppress(TypeError):
        text = orjson.dumps(document)
        if b"\\u0000" not in text and b"null" not in text:
            return text.decode()
    return orjson.dumps(_cleaned(document)).decode()


def _cleaned(value: Any) -> Any:
    """Return a document without what jsonb cannot hold: the message is delivered all the same."""
    match value:
        case str():
            return clean_text(value)
        case float() if not math.isfinite(value):
            return 0.0
        case dict():
            return {name: _cleaned(each) for name, each in value.items()}
        case list() | tuple():
            return [_cleaned(each) for each in value]
    return value


async def withhold(
    connection: Connection, messages: Iterable[SegmentMessage], days: int
) -> set[UUID]:
    """Insert the copies to be withheld of new messages; return the ids of the rows made. Of the
    others, what they would have sent on was added to a row that is there."""
    rows = [
        (
            each.id,
            message.envelope.id,
            each.tenant,
            each.account,
            clean_text(each.recipient),
            each.decision.reason,
            clean_text(each.decision.detail),
            each.decision.score,
            encode_withheld(message.envelope, each.recipient, each.outbound),
            message.envelope.body.size,
        )
        for message in messages
        for each in message.withheld
    ]
    if not rows:
        return set()
    columns = [list(column) for column in zip(*rows, strict=True)]
    made = {row["id"] for row in await connection.fetch(_WITHHOLD, *columns, days)}
    return made & set(columns[0])


async def remember_correspondents(
    connection: Connection, messages: Iterable[SegmentMessage]
) -> None:
    """Remember to whom accounts have written. Does nothing for messages from elsewhere."""
    pairs: Mapping[tuple[str, str], None] = {
        (message.envelope.submitter, clean_text(canonical(recipient))): None
        for message in messages
        if message.envelope.role in _OUTWARD and "@" in message.envelope.submitter
        for recipient in message.envelope.recipients
    }
    if not pairs:
        return
    submitters, addresses = zip(*pairs, strict=True)
    rows = await connection.fetch(_CORRESPOND, list(submitters), list(addresses))
    if rows:
        await _forget_oldest(connection, [row["account_id"] for row in rows])


async def _forget_oldest(connection: Connection, accounts: Collection[int]) -> None:
    await connection.execute(_TOO_MANY, sorted(accounts), MOST_CORRESPONDENTS)
