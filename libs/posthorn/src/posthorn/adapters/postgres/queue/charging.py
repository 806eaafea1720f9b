"""Charging of forwards and returned DSNs, in the transaction that queues them (ADR 20).

Rules:

- Each recipient elsewhere of an alias counts against the recipients per hour of the alias, its
  domain and its tenant: the counters that submission and the API charge too. A DSN to a rewritten
  reverse-path counts against that reverse-path, its original address, and the local domain in it.
- A recipient beyond a limit is queued all the same, but deferred: its owner finds in the queue why
  and until when. Nothing is refused and nothing is lost; it expires like any other.

Theory:

- ``recipients-<payer>`` is the counter of ``rate_limits``. Recipients beyond it are lined up in
  ``forwards-<payer>``, whose time is when the last of the line is due: one after another at the
  limit's rate, from when the counter has room again. The line does not debit the counter: otherwise
  a stranger who writes to an alias could stop the owner's own sending. So while a line drains, its
  owner may send up to its limit besides.
- One statement reads the limits, locks the counters' rows in the order of their keys, and writes
  them. Of two transactions that both create a counter, the greater time stays.
- A rollback undoes the charges; a message that is delivered already queues nothing and is charged
  nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from posthorn.adapters.postgres.database import Connection, clean_text
from posthorn.adapters.postgres.directory.outbox import write_outbox
from posthorn.model.forward_limits import ForwardLimits
from posthorn.model.outbound import Outbound, QueueState
from posthorn.ports.sending import SENDING_SECONDS

OVER_LIMIT_STATUS = "4.7.1"
_LEAST_LIMITED_SECONDS = 30.0
"""Shortest time for which an alias is published as limited: a shorter one would end before it is
seen."""

_CHARGE = f"""
WITH paying AS MATERIALIZED (
    SELECT p.name, p.most, a.alias, a.cost
      FROM unnest($1::text[], $2::integer[]) AS a (alias, cost)
      JOIN domains d ON d.name = split_part(a.alias, '@', -1)
      JOIN tenants t ON t.id = d.tenant_id
     CROSS JOIN LATERAL (VALUES ('alias:' || a.alias, $3::integer),
                                ('domain:' || d.name, d.max_recipients_per_hour),
                                ('tenant:' || t.id, t.max_recipients_per_hour)) AS p (name, most)
     WHERE p.most IS NOT NULL
  UNION ALL
    SELECT name, most, name, cost FROM unnest($4::text[], $5::integer[], $6::integer[]) AS r (name, most, cost)
), payers AS MATERIALIZED (
    SELECT name, most, sum(cost)::integer AS cost, array_agg(alias) AS aliases,
           CASE WHEN most > 0 THEN {SENDING_SECONDS}::float8 / most END AS unit
      FROM paying GROUP BY name, most
), held AS MATERIALIZED (
    SELECT key, full_at FROM throttles
     WHERE key = ANY (ARRAY (SELECT 'recipients-' || name FROM payers UNION ALL SELECT 'forwards-' || name FROM payers))
     ORDER BY key FOR UPDATE
), moment AS MATERIALIZED (
    SELECT clock_timestamp() AS now, (SELECT count(*) FROM held) AS held
), counted AS MATERIALIZED (
    SELECT p.*, moment.now, greatest(extract(epoch FROM c.full_at - moment.now)::float8, 0) AS ahead,
           greatest(extract(epoch FROM line.full_at - moment.now)::float8, 0) AS line
      FROM payers p CROSS JOIN moment
      LEFT JOIN held c ON c.key = 'recipients-' || p.name
      LEFT JOIN held line ON line.key = 'forwards-' || p.name
), fitting AS MATERIALIZED (
    SELECT *, CASE WHEN unit IS NULL OR line > 0 THEN 0
                   ELSE least(cost, greatest(floor(({SENDING_SECONDS} - coalesce(ahead, 0)) / unit + 0.001), 0))::integer
              END AS fits
      FROM counted
), judged AS MATERIALIZED (
    SELECT *, greatest(line, coalesce(ahead, 0) + (fits + 1) * unit - {SENDING_SECONDS}) AS start FROM fitting
), written AS (
    INSERT INTO throttles (key, full_at)
    SELECT key, full_at FROM (
        SELECT 'recipients-' || name AS key, now + make_interval(secs => coalesce(ahead, 0) + fits * unit) AS full_at
          FROM judged WHERE fits > 0
      UNION ALL
        SELECT 'forwards-' || name, now + make_interval(secs => start + (cost - fits) * unit)
          FROM judged WHERE fits < cost AND unit IS NOT NULL
    ) AS new ORDER BY key
    ON CONFLICT (key) DO UPDATE SET full_at = greatest(throttles.full_at, excluded.full_at)
)
SELECT name, most, aliases, cost, fits, start, unit, now FROM judged
"""

# Aliases already published as limited for long enough are left alone: a flood must not write them
# with every batch.
_LIMIT = """
UPDATE aliases a SET limited_until = l.until
  FROM unnest($1::text[], $2::timestamptz[]) AS l (address, until)
 WHERE a.address = l.address AND a.id = ANY (ARRAY (
           SELECT id FROM aliases WHERE address = ANY ($1::text[]) ORDER BY id FOR NO KEY UPDATE))
   AND (a.limited_until IS NULL OR a.limited_until < now() + (l.until - now()) / 2)
RETURNING a.address
"""


@dataclass(frozen=True, slots=True)
class Deferral:
    """When a recipient may be sent, and why not now."""

    due_at: datetime
    reply: str


def _is_charged(outbound: Outbound) -> bool:
    return outbound.state is QueueState.QUEUED and bool(outbound.alias or outbound.returns)


async def charge(
    connection: Connection,
    recipients: Sequence[Outbound],
    limits: ForwardLimits,
    give_up_seconds: float,
) -> dict[int, Deferral]:
    """Charge forwards and returned DSNs; return the deferred ones, by their index. Runs no
    statement when there are none."""
    charged = [(place, each) for place, each in enumerate(recipients) if _is_charged(each)]
    if not charged:
        return {}
    aliases = Counter(clean_text(each.alias) for _, each in charged if each.alias)
    returns: Counter[tuple[str, int]] = Counter()
    for _, each in charged:
        returns.update(_payers_of_return(each, limits))
    rows: list[Any] = await connection.fetch(
        _CHARGE,
        list(aliases),
        list(aliases.values()),
        limits.alias_recipients,
        [name for name, _ in returns],
        [most for _, most in returns],
        list(returns.values()),
    )
    payers: defaultdict[str, list[Any]] = defaultdict(list)
    for row in rows:
        for name in set(row["aliases"]):
            payers[name].append(row)
    deferred = _line_up(charged, payers, limits, give_up_seconds)
    await _limit(connection, [recipients[place] for place in deferred], payers, give_up_seconds)
    return deferred


def _payers_of_return(each: Outbound, limits: ForwardLimits) -> list[tuple[str, int]]:
    if not each.returns:
        return []
    path, domain = (
        clean_text(each.original).lower(),
        clean_text(each.original).rpartition("@")[2].lower(),
    )
    payers = (
        (f"return-path:{path}", limits.returns_per_path),
        (f"return-address:{clean_text(each.recipient).lower()}", limits.returns_per_address),
        (f"return-domain:{domain}", limits.returns_per_domain),
    )
    return [(name, most) for name, most in payers if most is not None]


def _line_up(
    charged: Sequence[tuple[int, Outbound]],
    payers: dict[str, list[Any]],
    limits: ForwardLimits,
    give_up_seconds: float,
) -> dict[int, Deferral]:
    """Assign each recipient its position in the counters, in order of arrival."""
    used: Counter[str] = Counter()
    deferred: dict[int, Deferral] = {}
    for place, each in charged:
        names = (
            [clean_text(each.alias)]
            if each.alias
            else [name for name, _ in _payers_of_return(each, limits)]
        )
        wait, slowest = 0.0, None
        for row in (row for name in names for row in payers[name]):
            number = used[row["name"]]
            used[row["name"]] += 1
            if number < row["fits"]:
                continue
            seconds = (
                give_up_seconds
                if row["unit"] is None
                else row["start"] + (number - row["fits"]) * row["unit"]
            )
            if slowest is None or seconds > wait:
                wait, slowest = max(seconds, 0.001), row
        if slowest is not None:
            kind, _, name = slowest["name"].partition(":")
            owner = (
                "the tenant"
                if kind == "tenant"
                else f"the {kind.replace('-', ' of returned mail, ')} {name}"
            )
            reply = f"450 {OVER_LIMIT_STATUS} {owner} has reached its limit of {slowest['most']} recipients an hour"
            wait = min(wait, give_up_seconds)
            deferred[place] = Deferral(slowest["now"] + timedelta(seconds=wait), reply)
    return deferred


async def _limit(
    connection: Connection,
    deferred: Sequence[Outbound],
    payers: dict[str, list[Any]],
    give_up_seconds: float,
) -> None:
    """Publish that the aliases accept no mail until their counters have room."""
    until: dict[str, datetime] = {}
    for each in deferred:
        for row in payers[clean_text(each.alias)] if each.alias else ():
            if row["fits"] < row["cost"]:
                free = (
                    give_up_seconds
                    if row["unit"] is None
                    else row["start"] + (row["cost"] - row["fits"]) * row["unit"]
                )
                seconds = min(max(free, _LEAST_LIMITED_SECONDS), give_up_seconds)
                moment = row["now"] + timedelta(seconds=seconds)
                for address in {clean_text(each.alias), clean_text(each.original)}:
                    until[address] = max(moment, until.get(address, moment))
    if not until:
        return
    limited = await connection.fetch(_LIMIT, list(until), list(until.values()))
    if limited:
        await write_outbox(connection, *sorted(row["address"] for row in limited))
        await connection.execute("SELECT pg_notify('directory', '')")
