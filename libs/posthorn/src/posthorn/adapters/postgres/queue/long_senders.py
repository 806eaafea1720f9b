"""Long senders, which SRS cannot rewrite: stored in the transaction that queues their forwarded
messages (ADR 27).

Theory:

- A row is (local domain, token) with the sender as written, and the last day on which the SRS2
  address was made. A sender that keeps sending keeps its row. Rows that no valid address can name
  are deleted (``forget``).
- Anyone may write to an alias, with any number of senders. So new rows per domain and hour are
  limited, in the same table as other limits. A sender beyond the limit is not stored, and its
  message is forwarded with the null reverse-path: it is delivered all the same, and only a later
  bounce is lost.
- Two senders do not share a token (60 bits of SHA-256) by chance; the second one is not stored.
- A rollback undoes rows and charges. A message that is delivered already stores nothing.
- Counters are locked by key, then rows by (domain, token), after everything that ``charging``
  locks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import date

import structlog
from prometheus_client import Counter as Metric

from posthorn.adapters.postgres.database import Connection, clean_text
from posthorn.model.envelope import Envelope
from posthorn.model.outbound import Outbound, QueueState
from posthorn.ports.mailboxes import LongSender
from posthorn.ports.sending import SENDING_SECONDS

log = structlog.get_logger()

_refused = Metric(
    "posthorn_delivery_long_senders_refused_total",
    "Messages forwarded with the null reverse-path since their long sender could not be stored",
)

_EPOCH = date(1970, 1, 1).toordinal()
_DAY_SECONDS = 86_400

_FIND = """
SELECT domain, token, sender, used_on FROM unnest($1::text[], $2::text[]) AS asked (domain, token)
  JOIN long_senders USING (domain, token)
"""
_CHARGE = f"""
WITH asked AS MATERIALIZED (
    SELECT 'long-senders:' || domain AS key, domain, cost, {SENDING_SECONDS}::float8 / $3 AS unit
      FROM unnest($1::text[], $2::integer[]) AS a (domain, cost)
), held AS MATERIALIZED (
    SELECT key, full_at FROM throttles WHERE key IN (SELECT key FROM asked) ORDER BY key FOR UPDATE
), moment AS MATERIALIZED (
    SELECT clock_timestamp() AS now, (SELECT count(*) FROM held) AS held
), counted AS MATERIALIZED (
    SELECT asked.*, moment.now, greatest(coalesce(extract(epoch FROM held.full_at - moment.now)::float8, 0), 0) AS ahead
      FROM asked CROSS JOIN moment LEFT JOIN held ON held.key = asked.key
), judged AS MATERIALIZED (
    SELECT *, least(cost, greatest(floor(({SENDING_SECONDS} - ahead) / unit + 0.001), 0))::integer AS fits FROM counted
), written AS (
    INSERT INTO throttles (key, full_at)
    SELECT key, now + make_interval(secs => ahead + fits * unit) FROM judged WHERE fits > 0 ORDER BY key
    ON CONFLICT (key) DO UPDATE SET full_at = greatest(throttles.full_at, excluded.full_at)
)
SELECT domain, fits FROM judged
"""
_STORE = """
INSERT INTO long_senders AS l (domain, token, sender, used_on)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::date[]) AS new (domain, token, sender, used_on)
 ORDER BY domain, token
ON CONFLICT (domain, token) DO UPDATE SET used_on = greatest(l.used_on, excluded.used_on) WHERE l.sender = excluded.sender
RETURNING domain, token
"""
_FORGET = """
WITH old AS (
    SELECT domain, token FROM long_senders WHERE used_on < (now() AT TIME ZONE 'UTC')::date - $1::integer
     ORDER BY used_on LIMIT $2 FOR UPDATE SKIP LOCKED
), forgotten AS (
    DELETE FROM long_senders l USING old WHERE l.domain = old.domain AND l.token = old.token RETURNING 1
)
SELECT count(*) FROM forgotten
"""


async def store(
    connection: Connection, entered: Sequence[tuple[Envelope, Outbound]], most_per_hour: int | None
) -> frozenset[int]:
    """Store the long senders of forwarded messages; return the indices of those that could not be
    stored.

    ``most_per_hour``: new ones of one domain; None: no limit. Runs no statement when there are
    none.
    """
    wanted = {place: _sender(each) for place, (_, each) in enumerate(entered) if _is_long(each)}
    if not wanted:
        return frozenset()
    senders: dict[LongSender, tuple[str, date]] = {}
    for place, key in wanted.items():
        envelope, _ = entered[place]
        day = date.fromordinal(_EPOCH + int(envelope.received_at // _DAY_SECONDS))
        senders[key] = envelope.reverse_path, max(day, senders[key][1] if key in senders else day)
    stored = await _store(connection, senders, most_per_hour)
    refused = frozenset(place for place, key in wanted.items() if key not in stored)
    if refused:
        _refused.inc(len(refused))
        domains = sorted({wanted[place][0] for place in refused})
        log.warning(
            "long senders not stored, forwarded with the null reverse-path",
            number=len(refused),
            domains=domains,
        )
    return refused


async def find(connection: Connection, asked: Collection[LongSender]) -> Mapping[LongSender, str]:
    """Return the senders that are stored."""
    rows = await connection.fetch(
        _FIND, [clean_text(domain) for domain, _ in asked], [token for _, token in asked]
    )
    return {(row["domain"], row["token"]): row["sender"] for row in rows}


async def forget(connection: Connection, days: int, limit: int) -> int:
    """Delete rows that were not used for more than ``days``; returns how many."""
    return int(await connection.fetchval(_FORGET, days, limit))


async def _store(
    connection: Connection,
    senders: Mapping[LongSender, tuple[str, date]],
    most_per_hour: int | None,
) -> set[LongSender]:
    stored: set[LongSender] = set()
    new = {key: fact for key, fact in senders.items() if clean_text(fact[0]) == fact[0]}
    renewed: dict[LongSender, tuple[str, date]] = {}
    for row in await connection.fetch(
        _FIND, [domain for domain, _ in new], [token for _, token in new]
    ):
        key = row["domain"], row["token"]
        sender, day = new.pop(key)
        if row["sender"] == sender:
            if row["used_on"] < day:
                renewed[key] = sender, day
            else:
                stored.add(key)
    if new and most_per_hour is not None:
        cost = Counter(domain for domain, _ in new)
        rows = await connection.fetch(_CHARGE, list(cost), list(cost.values()), most_per_hour)
        room = Counter({row["domain"]: row["fits"] for row in rows})
        fitting = {}
        for key, fact in new.items():
            if room[key[0]]:
                room[key[0]] -= 1
                fitting[key] = fact
        new = fitting
    if written := new | renewed:
        rows = await connection.fetch(
            _STORE,
            [domain for domain, _ in written],
            [token for _, token in written],
            [sender for sender, _ in written.values()],
            [day for _, day in written.values()],
        )
        stored |= {(row["domain"], row["token"]) for row in rows}
    return stored


def _is_long(outbound: Outbound) -> bool:
    return outbound.state is QueueState.QUEUED and bool(outbound.long_token)


def _sender(outbound: Outbound) -> LongSender:
    return outbound.reverse_path.rpartition("@")[2].lower(), outbound.long_token
