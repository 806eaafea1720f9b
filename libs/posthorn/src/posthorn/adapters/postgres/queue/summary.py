"""The queue in numbers: groups of what waits, and how many an action would meet."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from posthorn.adapters.postgres.conditions import Conditions
from posthorn.adapters.postgres.database import Connection
from posthorn.adapters.postgres.queue.claimed import unclaimed
from posthorn.adapters.postgres.queue.next_hops import next_hop_of
from posthorn.model.outbound import QueueState
from posthorn.ports.queue_administration import ClosedNextHop, Permitted, QueueGroup

OPEN = "state IN ('queued', 'deferred', 'held', 'sending')"
"""Condition of what waits or is being sent."""
# one pass over what waits; the class of a status is cut out once a group, not once a row
SUMMARY = f"""
SELECT g.destination, g.state, g.reply_class, g.recipients, g.oldest_at, g.next_attempt_at, g.sample,
       r.last_host, r.last_reply, l.closed_until, l.last_host AS lane_host, l.last_reply AS lane_reply
  FROM (
      SELECT destination, state, coalesce(substring(last_status FROM '^[245][.][0-9]{{{{1,3}}}}'), '') AS reply_class,
             sum(recipients)::bigint AS recipients, min(oldest_at) AS oldest_at, max(sample) AS sample,
             min(due_at) FILTER (WHERE state IN ('queued', 'deferred')) AS next_attempt_at
        FROM (
            SELECT destination, CASE WHEN c.recipient_id IS NULL THEN state ELSE 'sending' END AS state, last_status,
                   count(*) AS recipients, min(created_at) AS oldest_at, max(id) AS sample, min(due_at) AS due_at
              FROM (SELECT * FROM outbound_recipients WHERE {{where}}) AS q
              LEFT JOIN outbound_claims c ON c.recipient_id = q.id
             GROUP BY 1, 2, 3
        ) AS by_status
       GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3 OFFSET {{offset}} LIMIT {{limit}}
  ) AS g
  JOIN outbound_recipients r ON r.id = g.sample
 CROSS JOIN LATERAL (SELECT g.destination AS name) AS d
  LEFT JOIN LATERAL (
      SELECT * FROM outbound_lanes
       WHERE g.state IN ('queued', 'deferred') AND key = {next_hop_of("d.name")} AND closed_until > now() LIMIT 1
  ) AS l ON true
 ORDER BY g.recipients DESC, g.destination, g.state, g.reply_class
"""
_PERMITTED = """
SELECT count(*) AS matching, count(*) FILTER (WHERE permitted) AS permitted
  FROM (SELECT state IN ({names}) AND {unclaimed} AS permitted FROM outbound_recipients WHERE {where} LIMIT {limit}) AS matching
"""


def state_list(states: Collection[QueueState]) -> str:
    """Return the states for a list in SQL."""
    return ", ".join(f"'{state.value}'" for state in states)


async def count_permitted(
    connection: Connection,
    search: Conditions,
    states: Collection[QueueState],
    most: int,
    *,
    is_chosen: bool,
) -> Permitted:
    """Count what an action that is for these states would meet, at most ``most``. ``is_chosen``:
    what has ended is meant as well."""
    if not is_chosen:
        search.add(OPEN)
    query = _PERMITTED.replace("{names}", state_list(states)).replace(
        "{unclaimed}", unclaimed("outbound_recipients")
    )
    row: Any = await connection.fetchrow(search.into(query, most), *search.values)
    return Permitted(row["matching"], row["permitted"])


async def groups(
    connection: Connection, search: Conditions, offset: int, limit: int
) -> Sequence[QueueGroup]:
    """Return the groups, the largest first."""
    search.add(OPEN)
    query = SUMMARY.replace("{offset}", str(int(offset)))
    rows = await connection.fetch(search.into(query, limit), *search.values)
    return [_as_group(row) for row in rows]


def _as_group(row: Any) -> QueueGroup:
    return QueueGroup(
        row["destination"],
        QueueState(row["state"]),
        row["reply_class"],
        row["recipients"],
        row["oldest_at"],
        row["next_attempt_at"],
        row["sample"],
        row["last_host"],
        row["last_reply"],
        ClosedNextHop(row["closed_until"], row["lane_host"], row["lane_reply"])
        if row["closed_until"]
        else None,
    )
